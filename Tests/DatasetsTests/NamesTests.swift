import Datasets
import Foundation
import Testing

@Suite final class NamesTests {
  let scratch = ScratchFolder()

  private func corpus(
    _ training: [(String, String)], heldOut: [(String, String)] = []
  ) -> Corpus {
    let pairs: [Split: [(String, String)]] = [.training: training, .test: heldOut]
    return Corpus(
      pairs: pairs.mapValues { $0.map { TextPair(source: $0, target: $1) } },
      languages: Languages(source: "en", target: "de"), provenance: [], licenceNote: "",
      overlap: .leavesHeldOut)
  }

  /// What was added to these training pairs.
  private func added(
    to training: [(String, String)], heldOut: [(String, String)] = [], seed: UInt64 = 1
  ) throws -> [TextPair] {
    let counts = try scratch.prepare(
      "data", .stretched(corpus(training, heldOut: heldOut), seed: seed)
    ).counts
    defer { try? FileManager.default.removeItem(atPath: "\(scratch.path)/data") }
    let texts = try Dataset(path: "\(scratch.path)/data").allTexts(.training)
    let added = Array(texts.dropFirst(training.count))
    #expect(counts.otherNames == added.count)
    return added
  }

  @Test func namesAreExchangedOnBothSides() throws {
    let names = ["Gimp", "Krita", "Inkscape", "Scribus"]
    let pairs = names.map { ("An editor, \($0) (for \($0).js)", "\($0)-Editor für »\($0).js«") }
    var seen: Set<String> = []
    for seed in 1...20 as ClosedRange<UInt64> {
      for pair in try added(to: pairs, seed: seed) {
        let source = try #require(
          pair.source.wholeMatch(of: #/An editor, ([\w.]+) \(for ([\w.]+)\)/#), "\(pair.source)")
        let target = try #require(
          pair.target.wholeMatch(of: #/([\w.]+)-Editor für »([\w.]+)«/#), "\(pair.target)")
        #expect(source.1 == target.1 && source.2 == target.2)
        // The two names of a pair are exchanged each for itself.
        seen.insert("\(source.1) \(source.2)")
      }
    }
    #expect(seen.count > 4)
  }

  @Test func aNameGivesWayToOneOfItsShape() throws {
    let names = ["libfoo", "libbar", "FTP", "NFS", "Tcl", "Ada"]
    let pairs = names.indices.map { ("tool \($0) is \(names[$0])", "\(names[$0]), Nummer \($0)") }
    var exchanged: Set<[Int]> = []
    for seed in 1...20 as ClosedRange<UInt64> {
      for pair in try added(to: pairs, seed: seed) {
        let words = pair.source.split(separator: " ")
        let (from, to) = (
          try #require(Int(words[1])), try #require(names.firstIndex(of: String(words[3])))
        )
        exchanged.insert([from, to])
      }
    }
    #expect(exchanged == [[0, 1], [1, 0], [2, 3], [3, 2], [4, 5], [5, 4]])
  }

  @Test func wordsThatAreTranslatedOrFrequentStay() throws {
    let pairs: [(String, String)] =
      // Two of three translations keep `mask`, three of five `band`.
      [("mask 1", "mask 1"), ("mask 2", "mask 2"), ("mask 3", "Maske 3"), ("sieve 4", "sieve 4")]
      + (5...9).map { ("band \($0)", $0 < 8 ? "band \($0)" : "Gruppe \($0)") }
      + (10...110).map { ("Linux \($0)", "Linux \($0)") }
    let sources = try (1...20).flatMap { try added(to: pairs, seed: $0).map(\.source) }
    #expect(Set(sources) == ["sieve 1", "sieve 2", "mask 4"])
  }

  @Test func nothingHeldOutIsAdded() throws {
    let pairs = [("I like Foo", "Ich mag Foo"), ("You like Bar", "Du magst Bar")]
    let sources = try (1...20).flatMap {
      try added(to: pairs, heldOut: [("I like Bar", "Mir gefällt Bar")], seed: $0).map(\.source)
    }
    #expect(Set(sources) == ["You like Foo"])
  }
}
