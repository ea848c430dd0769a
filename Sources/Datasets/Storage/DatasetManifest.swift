import Core
import Foundation

/// What pairs are for.
package enum Split: String, Sendable, Codable, CaseIterable, Hashable {
  case training = "train"
  case validation = "valid"
  case test = "test"
}

/// Names of the two languages, as a person wrote them.
package struct Languages: Sendable, Equatable, Codable {
  package var source: String
  package var target: String

  package init(source: String, target: String) {
    self.source = source
    self.target = target
  }
}

/// `dataset.json` of version 1: what a prepared folder must hold, with digests, and where it came
/// from. Of a folder of any version its bytes give the dataset's digest.
package struct DatasetManifest: Sendable, Equatable, Codable {
  package static let fileName = "dataset.json"
  package static let currentFormat = "lockstep-dataset"
  package static let currentVersion = 1

  package struct TokenizerEntry: Sendable, Equatable, Codable {
    package var file: String
    /// XXH3-128, 32 hexadecimal digits.
    package var digest: String
    package var vocabularySize: Int
  }

  package struct ShardEntry: Sendable, Equatable, Codable {
    package var file: String
    /// XXH3-128 of the file, 32 hexadecimal digits.
    package var digest: String
    package var byteCount: Int
    package var pairs: Int
    /// Without begin and end.
    package var sourceTokens: Int
    package var targetTokens: Int
  }

  /// A file of held-out text, a sentence a line.
  package struct TextEntry: Sendable, Equatable, Codable {
    package var file: String
    /// XXH3-128 of the file, 32 hexadecimal digits.
    package var digest: String
  }

  package struct SplitEntry: Sendable, Equatable, Codable {
    package var pairs: Int
    package var sourceTokens: Int
    package var targetTokens: Int
    package var shards: [ShardEntry]
    /// Source and target text; none for training.
    package var texts: [TextEntry]

    /// Precondition: the counts of the shards have been checked, or are our own.
    package init(shards: [ShardEntry], texts: [TextEntry] = []) {
      pairs = shards.reduce(0) { $0 + $1.pairs }
      sourceTokens = shards.reduce(0) { $0 + $1.sourceTokens }
      targetTokens = shards.reduce(0) { $0 + $1.targetTokens }
      self.shards = shards
      self.texts = texts
    }
  }

  package var format = currentFormat
  package var formatVersion = currentVersion
  package var languages: Languages
  package var tokenizer: TokenizerEntry
  /// By the raw value of `Split`.
  package var splits: [String: SplitEntry]
  package var counts: PairCounts
  /// Pieces a side may have; longer pairs were left out.
  package var maximumPieces: Int
  package var seed: UInt64
  package var provenance: [String]
  package var licenceNote: String

  /// The bytes of the file: the same for the same manifest.
  package func encoded() throws(Failure) -> [UInt8] { try DescriptionText.encode(self) }

  /// XXH3-128 of the bytes of the file: what a dataset is called by, whatever its version.
  package func digest() throws(Failure) -> Digest { Digest(of: try encoded()) }

  /// Throws: `Failure` (.badData) for anything but a manifest of this version.
  package init(decoding bytes: [UInt8], path: String) throws(Failure) {
    self = try DescriptionText.decode(bytes, versions: Self.currentVersion, path: path)
  }
}

extension DatasetManifest {
  package init(
    languages: Languages, tokenizer: TokenizerEntry, splits: [Split: SplitEntry],
    counts: PairCounts, maximumPieces: Int, seed: UInt64, provenance: [String],
    licenceNote: String
  ) {
    self.languages = languages
    self.tokenizer = tokenizer
    self.splits = Dictionary(uniqueKeysWithValues: splits.map { ($0.key.rawValue, $0.value) })
    self.counts = counts
    self.maximumPieces = maximumPieces
    self.seed = seed
    self.provenance = provenance
    self.licenceNote = licenceNote
  }
}
