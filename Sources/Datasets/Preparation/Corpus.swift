import Core

/// Text pairs on their way to a dataset, by split, with where they come from.
package struct Corpus: Sendable {
  package var pairs: [Split: [TextPair]]
  package var languages: Languages
  /// One line per origin.
  package var provenance: [String]
  package var licenceNote: String
  /// Which side gives way when a held-out source text also occurs in training.
  package var overlap: Overlap
  /// Short pairs that came with the texts, for training only.
  package var items: [TextPair] = []

  package enum Overlap: Sendable {
    /// Held-out sets were cut from one pile: they shrink.
    case leavesHeldOut
    /// Held-out sets were given, or asked for by size: training shrinks.
    case leavesTraining
  }

  package init(
    pairs: [Split: [TextPair]], languages: Languages, provenance: [String], licenceNote: String,
    overlap: Overlap
  ) {
    self.pairs = pairs
    self.languages = languages
    self.provenance = provenance
    self.licenceNote = licenceNote
    self.overlap = overlap
  }
}

/// What became of the text pairs that were read.
package struct PairCounts: Equatable, Sendable, Codable {
  package var read = 0
  /// Pairs left out because a side was empty.
  package var empty = 0
  /// Pairs left out because they were the same as an earlier one of their split.
  package var duplicate = 0
  /// Pairs left out because one side was several times as long as the other.
  package var lopsided = 0
  /// Pairs left out because their source text occurs in another split.
  package var overlapping = 0
  /// Pairs left out because both sides were the same text.
  package var untranslated = 0
  /// Pairs left out because a side had more pieces than the limit.
  package var tooLong = 0
  /// Pairs added to training: single sentences of those that were read, and items of their lists.
  package var sentences = 0
  /// Pairs added to training: those with names, once more with others.
  package var otherNames = 0
  package var kept = 0

  package init() {}
}

extension PairCounts {
  /// Datasets of earlier versions have nothing added, and untranslated pairs.
  package init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: CodingKeys.self)
    func count(_ key: CodingKeys) throws -> Int { try container.decode(Int.self, forKey: key) }
    func laterCount(_ key: CodingKeys) throws -> Int {
      try container.decodeIfPresent(Int.self, forKey: key) ?? 0
    }
    self.init()
    read = try count(.read)
    empty = try count(.empty)
    duplicate = try count(.duplicate)
    lopsided = try count(.lopsided)
    overlapping = try count(.overlapping)
    tooLong = try count(.tooLong)
    untranslated = try laterCount(.untranslated)
    sentences = try laterCount(.sentences)
    otherNames = try laterCount(.otherNames)
    kept = try count(.kept)
  }
}

extension Corpus {
  /// Puts texts on one line each and leaves out empty, lopsided and repeated pairs.
  mutating func clean(counting counts: inout PairCounts) {
    for split in Split.allCases {
      var seen: Set<Digest> = []
      var kept: [TextPair] = []
      for raw in pairs[split, default: []] {
        counts.read += 1
        let pair = raw.onOneLine
        if pair.hasEmptySide {
          counts.empty += 1
        } else if pair.isLopsided {
          counts.lopsided += 1
        } else if !seen.insert(pair.identity).inserted {
          counts.duplicate += 1
        } else {
          kept.append(pair)
        }
      }
      pairs[split] = kept
    }
  }

  /// Moves pairs from training to the held-out splits, chosen by a hash of their source text.
  ///
  /// Throws: `Failure` (.badData) when that leaves no training pair.
  mutating func holdOut(_ amounts: [Split: Int], seed: UInt64) throws(Failure) {
    let wanted = amounts.values.reduce(0, +)
    guard wanted > 0 else { return }
    let all = pairs[.training, default: []]
    guard wanted < all.count else {
      throw Failure(
        .badData,
        "expected more than \(wanted) pairs to hold out that many, found \(all.count);"
          + " ask for fewer"
      )
    }
    let keys = all.map { pair in
      Digest(of: "\(seed) \(TextPair.identity(of: pair.source))").low
    }
    let order = all.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }
    var taken = 0
    for split in [Split.test, .validation] {
      guard let amount = amounts[split], amount > 0 else { continue }
      pairs[split] = order[taken..<taken + amount].sorted().map { all[$0] }
      taken += amount
    }
    pairs[.training] = order[taken...].sorted().map { all[$0] }
  }

  /// Leaves out pairs so that no source text occurs in two splits.
  mutating func removeOverlap(counting counts: inout PairCounts) {
    let order: [Split] =
      overlap == .leavesHeldOut
      ? [.training, .test, .validation] : [.test, .validation, .training]
    var seen: Set<Digest> = []
    for split in order {
      let found = pairs[split, default: []].map { (TextPair.identity(of: $0.source), $0) }
      let kept = found.filter { !seen.contains($0.0) }
      counts.overlapping += found.count - kept.count
      seen.formUnion(kept.map(\.0))
      pairs[split] = kept.map(\.1)
    }
  }
}
