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

/// `dataset.json`: what a prepared folder must hold, with digests, and where it came from.
package struct DatasetManifest: Sendable, Equatable, Codable {
  package static let fileName = "dataset.json"
  package static let currentFormat = "lockstep-dataset"
  package static let currentVersion = 1
  /// Enough for 35,000 shards, 2 x 10^9 pairs of the usual size, and read within seconds.
  static let byteLimit = 8 << 20

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

  /// The same bytes for the same manifest.
  ///
  /// Throws: `Failure(.badData)` for more than its readers take.
  package func encoded() throws(Failure) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    guard let bytes = try? encoder.encode(self) else {
      throw Failure(.internal, "\(Self.fileName): cannot encode")
    }
    guard bytes.count < Self.byteLimit else {
      let shardCount = splits.values.reduce(0) { $0 + $1.shards.count }
      throw Failure(
        .badData,
        "\(Self.fileName): \(shardCount) shards take \(bytes.count) bytes, at most"
          + " \(Self.byteLimit) are read; ask for fewer shards with a larger --shard-pairs")
    }
    return Array(bytes) + [UInt8(ascii: "\n")]
  }

  /// Throws: `Failure` (.badData) for anything but a manifest of this version.
  package init(decoding bytes: [UInt8], path: String) throws(Failure) {
    struct Header: Codable {
      var format: String
      var formatVersion: Int
    }
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      let header = try decoder.decode(Header.self, from: Data(bytes))
      guard header.format == Self.currentFormat, header.formatVersion == Self.currentVersion else {
        throw Failure(
          .badData,
          "\(path): expected format \(Self.currentFormat) version \(Self.currentVersion), found"
            + " \(header.format) version \(header.formatVersion); prepare the data again")
      }
      self = try decoder.decode(Self.self, from: Data(bytes))
    } catch let failure as Failure {
      throw failure
    } catch {
      throw Failure(
        .badData,
        "\(path): expected a dataset's description in JSON, found something else"
          + " (\(Self.reason(error)))")
    }
  }

  private static func reason(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "no key \(key.stringValue)"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
      "\(context.codingPath.map(\.stringValue).joined(separator: ".")) has another type"
    case DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty:
      "\(context.codingPath.map(\.stringValue).joined(separator: ".")) is out of range"
    default: "not JSON"
    }
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
