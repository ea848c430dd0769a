import Core

/// A toy translation: repeat the source. Learnt in minutes, it shows that everything works.
package struct CopyTask: Sendable {
  package var seed: UInt64
  package var amounts: [Split: Int]
  /// Symbols are the first letters of the alphabet.
  package var symbolCount: Int
  package var maximumLength: Int

  package init(
    seed: UInt64, amounts: [Split: Int] = [.training: 6000, .validation: 300, .test: 300],
    symbolCount: Int = 16, maximumLength: Int = 10
  ) {
    precondition((1...26).contains(symbolCount), "symbols are letters")
    precondition(maximumLength > 0, "a sequence has a symbol")
    self.seed = seed
    self.amounts = amounts
    self.symbolCount = symbolCount
    self.maximumLength = maximumLength
  }

  /// Random sequences of 1 to `maximumLength` symbols with a space between them.
  package func corpus() -> Corpus {
    let letters = (0..<symbolCount).map { String(UnicodeScalar(UInt8(ascii: "a") + UInt8($0))) }
    var pairs: [Split: [TextPair]] = [:]
    for (site, split) in Split.allCases.enumerated() {
      pairs[split] = (0..<amounts[split, default: 0]).map { index in
        let stream = RandomStream(seed: seed, purpose: .synthesis, site: site, a: index)
        let length = 1 + Int(stream.uniform(at: 0) * Double(maximumLength))
        let text = (1...length)
          .map { letters[Int(stream.uniform(at: $0) * Double(symbolCount))] }
          .joined(separator: " ")
        return TextPair(source: text, target: text)
      }
    }
    return Corpus(
      pairs: pairs, languages: Languages(source: "symbols", target: "symbols"),
      provenance: ["copy task: random symbols, seed \(seed)"], licenceNote: "generated",
      overlap: .leavesHeldOut)
  }
}
