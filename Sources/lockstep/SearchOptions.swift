import ArgumentParser
import Decoding

/// How translations are searched; the same for `translate` and `evaluate`.
struct SearchOptions: ParsableArguments {
  @Option(help: "Hypotheses kept for each sentence; 1 takes the likeliest piece each time.")
  var beam = 4

  @Option(help: "Alpha of the length penalty ((5 + n) / 6)^alpha; 0 is none.")
  var lengthPenalty = 0.6

  @Option(help: "The most source pieces translated at once; more is faster and takes memory.")
  var batchTokens = 2048

  mutating func validate() throws {
    guard beam >= 1 else { throw ValidationError("--beam must be at least 1, not \(beam).") }
    guard lengthPenalty >= 0, lengthPenalty.isFinite else {
      throw ValidationError("--length-penalty must be 0 or more, not \(lengthPenalty).")
    }
    guard batchTokens >= 1 else {
      throw ValidationError("--batch-tokens must be at least 1, not \(batchTokens).")
    }
  }

  func apply(to translator: inout Translator) {
    translator.search.beamWidth = beam
    translator.search.lengthPenalty = .paper(alpha: lengthPenalty)
    translator.batchTokens = batchTokens
  }
}
