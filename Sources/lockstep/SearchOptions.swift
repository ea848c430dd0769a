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
    guard 1...10_000 ~= beam else {
      throw ValidationError("--beam must be from 1 to 10000, not \(beam).")
    }
    guard lengthPenalty >= 0, lengthPenalty.isFinite else {
      throw ValidationError("--length-penalty must be 0 or more, not \(lengthPenalty).")
    }
    guard 1...100_000_000 ~= batchTokens else {
      throw ValidationError("--batch-tokens must be from 1 to 100000000, not \(batchTokens).")
    }
  }

  func apply(to translator: inout Translator) {
    translator.search.beamWidth = beam
    translator.search.lengthPenalty = .paper(alpha: lengthPenalty)
    translator.batchTokens = batchTokens
  }
}
