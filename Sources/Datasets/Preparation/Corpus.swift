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
  /// Whether training pairs with the same text on both sides are left out: volunteers leave lines
  /// of lists as they are, and a model learns from that to answer in the language it was asked in.
  package var leavesOutUntranslated = false

  package enum Overlap: String, Sendable, Codable {
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
