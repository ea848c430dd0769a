import ArgumentParser
import Core
import Datasets
import Decoding
import Foundation

/// `lockstep evaluate`: BLEU and perplexity on held-out sentence pairs.
struct EvaluateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "evaluate",
    abstract: "Measure BLEU and perplexity on held-out sentence pairs.",
    discussion: """
      BLEU is sacreBLEU's (13a tokenisation), against the text as it was prepared. Perplexity is
      per piece of the reference, end of sentence included, without label smoothing.
      """)

  @Option(help: "A checkpoint, or a run directory (its newest checkpoint).")
  var checkpoint: String

  @Option(help: "A prepared dataset.")
  var data: String

  @Option(help: "Which part of the dataset: test or valid.")
  var split = Split.test

  @Option(help: "Leave out pairs with a side of more pieces than this, special tokens not counted.")
  var maxPieces: Int?

  @OptionGroup var search: SearchOptions

  @Flag(help: "Write one JSON object.")
  var json = false

  mutating func validate() throws {
    guard split != .training else {
      throw ValidationError("--split must be test or valid: of training pairs no text is kept.")
    }
    if let maxPieces, maxPieces < 1 {
      throw ValidationError("--max-pieces must be at least 1, not \(maxPieces).")
    }
  }

  func run() throws {
    try prepareKernels()
    let loaded = try LoadedTranslator(checkpoint: checkpoint)
    var translator = loaded.translator
    search.apply(to: &translator)
    let (pairs, count) = try loaded.referencePairs(
      data: data, split: split, maximumPieces: maxPieces)
    guard !pairs.isEmpty else {
      let limit = maxPieces.map { " of at most \($0) pieces" } ?? ""
      throw Failure(
        .badData,
        "\(data): no pair\(limit) in split \(split.rawValue), which has \(count) pairs")
    }
    let evaluation = try Evaluation(pairs, translator: translator) { loaded.model.loss($0) }
    let report = Report(
      evaluation, of: loaded.source, pairCount: pairs.count, omittedCount: count - pairs.count)
    if json {
      try StandardOutput.write(try jsonLine(report) + [UInt8(ascii: "\n")])
    } else {
      let omitted =
        report.omittedPairs > 0 ? " (\(report.omittedPairs) longer ones left out)" : ""
      try StandardOutput.say(
        """
        weights: \(loaded.source.text)
        \(evaluation.bleu.verboseScore)
        signature: \(BLEU.signature)
        perplexity = \(String(format: "%.3f", evaluation.perplexity)) over \
        \(evaluation.loss.tokens) pieces of \(pairs.count) pairs\(omitted)
        """)
    }
  }

  private struct Report: Encodable {
    let checkpoint: String
    let step: Int
    let checkpointDigest: String
    let bleu: Double
    let bleuSignature: String
    let bleuPrecisions: [Double]
    let brevityPenalty: Double
    let systemLength: Int
    let referenceLength: Int
    let perplexity: Double
    let targetPieces: Int
    let pairs: Int
    let omittedPairs: Int

    init(
      _ evaluation: Evaluation, of source: LoadedTranslator.Source, pairCount: Int,
      omittedCount: Int
    ) {
      checkpoint = source.checkpoint
      step = source.step
      checkpointDigest = source.checkpointDigest
      bleu = evaluation.bleu.score
      bleuSignature = BLEU.signature
      bleuPrecisions = evaluation.bleu.precisions
      brevityPenalty = evaluation.bleu.brevityPenalty
      systemLength = evaluation.bleu.systemLength
      referenceLength = evaluation.bleu.referenceLength
      perplexity = evaluation.perplexity
      targetPieces = evaluation.loss.tokens
      pairs = pairCount
      omittedPairs = omittedCount
    }
  }
}
