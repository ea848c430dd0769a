import ArgumentParser
import Checkpoints
import Core
import Datasets
import Decoding
import Models
import Tensors
import Training

/// A checkpoint's model and its tokenizer, ready to translate.
struct LoadedTranslator {
  let model: TrainedTransformer
  let tokenizer: Tokenizer
  let source: Source

  /// Whose weights these are: of a run with a damaged checkpoint not those one expects.
  struct Source {
    let checkpoint: String
    let step: Int
    /// Of the checkpoint, as its manifest has it.
    let checkpointDigest: String

    var text: String {
      "\(escaped(checkpoint)): step \(step), digest \(checkpointDigest)"
    }
  }

  /// Opens a checkpoint, or the newest one that verifies of a run directory.
  ///
  /// Throws: `Failure` if there is none, if it is damaged, or if model, tokenizer and configuration
  /// in it do not fit each other.
  init(checkpoint path: String) throws(Failure) {
    let checkpoint = try Checkpoint.open(path, report: CommandLineEntry.say)
    tokenizer = try Tokenizer(
      checkpoint.header.tokenizerModel, origin: "\(checkpoint.path): its tokenizer model")
    let configuration = try RunConfiguration.decode(
      yaml: checkpoint.header.configurationYAML, name: "\(checkpoint.path): its configuration")
    let shape = configuration.shape(vocabularySize: tokenizer.vocabularySize)
    let layout = Transformer(shape).layout
    try checkpoint.requireLayout(layout)
    let weights = FloatBuffer(count: layout.count)
    try checkpoint.read(0..<layout.count, of: .parameters, into: weights.view)
    model = TrainedTransformer(shape, weights: weights)
    source = Source(
      checkpoint: checkpoint.path, step: checkpoint.header.step,
      checkpointDigest: checkpoint.digest)
  }

  var translator: Translator {
    Translator(model: model, encode: tokenizer.encode, decode: tokenizer.decode)
  }

  /// The pairs of held-out text in a prepared dataset, in this model's pieces.
  ///
  /// - Parameter maximumPieces: pairs with more on a side are left out; nil is no limit.
  /// Returns: those pairs, and how many the dataset has.
  /// Throws: as `DatasetFolder.init` and `texts`; `Failure` (.badData) for a text longer than
  /// `Translator.longestText` without a limit that leaves it out.
  func referencePairs(
    data: String, split: Split, maximumPieces: Int?
  ) throws(Failure) -> (pairs: [ReferencePair], count: Int) {
    var pairs: [ReferencePair] = []
    let texts = try DatasetFolder(path: data).texts(of: split)
    for (index, text) in texts.enumerated() {
      // To cut a text takes time with the square of its length.
      let byteCount = max(text.source.utf8.count, text.target.utf8.count)
      guard byteCount <= Translator.longestText else {
        if maximumPieces != nil { continue }
        throw Failure(
          .badData,
          "\(data): pair \(index + 1) of \(split.rawValue) has a side of \(byteCount) bytes, at "
            + "most \(Translator.longestText) are evaluated; leave out longer pairs with "
            + "--max-pieces")
      }
      pairs.append(
        ReferencePair(
          source: text.source, reference: text.target,
          sourceTokens: try tokenizer.encode(text.source),
          referenceTokens: try tokenizer.encode(text.target)))
    }
    return (pairs.filter { $0.longestSide <= maximumPieces ?? .max }, texts.count)
  }
}

extension Split: ExpressibleByArgument {}
