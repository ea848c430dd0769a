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

  var translator: Translator {
    Translator(model: model, encode: tokenizer.encode, decode: tokenizer.decode)
  }
}

/// Opens a checkpoint with the tokenizer it carries; nothing else of its run is needed.
///
/// May start the process again to compute with the best kernels. Throws: `Failure` if it is missing,
/// damaged or of another vocabulary size.
func loadTranslator(checkpoint path: String) throws -> LoadedTranslator {
  try prepareKernels()
  let checkpoint = try Checkpoint.open(path) { CommandLineEntry.say($0) }
  let name = "\(checkpoint.path)/checkpoint.h5"
  let tokenizer = try Tokenizer(
    checkpoint.header.tokenizerModel, origin: "\(name):/tokenizer/model")
  let configuration = try RunConfiguration.decode(
    yaml: checkpoint.header.configurationYAML, name: "\(name):/configuration/yaml")
  let shape = configuration.shape(vocabularySize: tokenizer.vocabularySize)
  try checkpoint.requireLayout(Transformer(shape).layout)
  let weights = FloatBuffer(count: checkpoint.layout.count)
  try checkpoint.read(0..<weights.count, of: .parameters, into: weights.view)
  return LoadedTranslator(
    model: TrainedTransformer(shape, weights: weights), tokenizer: tokenizer)
}

/// The sentence pairs of one split of a prepared dataset.
///
/// Throws: `Failure` if they are missing or were prepared with another tokenizer.
func loadReferencePairs(
  data: String, split name: String, for translator: LoadedTranslator
) throws -> [ReferencePair] {
  guard let split = Split(rawValue: name) else {
    let names = Split.allCases.map(\.rawValue).joined(separator: ", ")
    throw Failure(.usage, "--split: expected one of \(names), found '\(name)'")
  }
  let dataset = try Dataset(path: data)
  guard dataset.tokenizer.digest == translator.tokenizer.digest else {
    throw Failure(
      .badData,
      "\(data): was prepared with another tokenizer (\(dataset.vocabularySize) pieces) than the"
        + " checkpoint (\(translator.tokenizer.vocabularySize) pieces)")
  }
  return try dataset.texts(of: split).map { pair in
    ReferencePair(
      source: pair.source, reference: pair.target,
      sourceTokens: try dataset.tokenizer.encode(pair.source),
      referenceTokens: try dataset.tokenizer.encode(pair.target))
  }
}
