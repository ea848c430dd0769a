import Core
import HDF5

/// The pairs of one shard, without begin and end.
package struct ShardContent: Equatable, Sendable {
  package var source: PackedSequences
  package var target: PackedSequences

  package var pairCount: Int { source.count }
}

/// Names inside a shard: an HDF5 file of packed token ids.
enum ShardFormat {
  static let name = "lockstep-shard"
  static let version = 1
  /// Text pairs kept readable in `/preview`.
  static let previewCount = 20
  /// Above this, token ids take four bytes instead of two.
  static let narrowVocabularySize = 65_536

  static func tokens(_ side: Side) -> String { "/\(side.rawValue)/tokens" }
  static func offsets(_ side: Side) -> String { "/\(side.rawValue)/offsets" }
  static func preview(_ side: Side) -> String { "/preview/\(side.rawValue)" }
  static func tokenCount(_ side: Side) -> String { "\(side.rawValue)_token_count" }

  enum Side: String, CaseIterable {
    case source, target
  }

  enum Attribute {
    static let format = "format"
    static let version = "format_version"
    static let split = "split"
    static let tokenType = "token_type"
    static let sequenceCount = "sequence_count"
    static let vocabularySize = "vocabulary_size"
    static let tokenizerDigest = "tokenizer_digest"
    static let sourceLanguage = "source_language"
    static let targetLanguage = "target_language"
    static let provenance = "provenance"
  }
}

/// An open shard that is, byte for byte, the one its dataset's description names.
struct ShardReader: ~Copyable {
  private let file: StoredFile
  private let path: String
  private let entry: DatasetManifest.ShardEntry
  private let vocabularySize: Int

  /// Throws: `Failure`: .missingInput when the file is missing, .badData when it is not the one
  /// that was prepared.
  init(
    path: String, entry: DatasetManifest.ShardEntry, split: Split,
    tokenizer: DatasetManifest.TokenizerEntry
  ) throws(Failure) {
    let opened = try OpenFile(readingRegular: path)
    let byteCount = try opened.byteCount()
    guard byteCount == entry.byteCount else {
      throw Failure(
        .badData,
        "\(path): expected \(entry.byteCount) bytes, found \(byteCount); copy the dataset again")
    }
    // A flipped bit reads as another number: nothing is used before the digest fits.
    let digest = Digest(of: try opened.read(byteCount: byteCount, at: 0))
    guard "\(digest)" == entry.digest else {
      throw Failure(
        .badData,
        "\(path): expected the shard with XXH3 \(entry.digest), found \(digest); it was"
          + " changed or damaged, prepare the data again")
    }
    let file = try StoredFile(sharing: opened, digest: digest)
    typealias Attribute = ShardFormat.Attribute
    for (name, text) in [
      (Attribute.format, ShardFormat.name), (Attribute.split, split.rawValue),
      (Attribute.tokenizerDigest, tokenizer.digest),
    ] {
      let found = try file.textAttribute(name)
      guard found == text else { throw Self.mismatch(path, name, text, found) }
    }
    for (name, number) in [
      (Attribute.version, ShardFormat.version), (Attribute.sequenceCount, entry.pairs),
      (Attribute.vocabularySize, tokenizer.vocabularySize),
      (ShardFormat.tokenCount(.source), entry.sourceTokens),
      (ShardFormat.tokenCount(.target), entry.targetTokens),
    ] {
      let found = try file.integerAttribute(name)
      guard found == number else {
        throw Self.mismatch(path, name, "\(number)", "\(found)")
      }
    }
    self.file = file
    self.path = path
    self.entry = entry
    vocabularySize = tokenizer.vocabularySize
  }

  /// Where the sequences of a side begin and end.
  ///
  /// Throws: `Failure` (.badData) unless they are in order and span the tokens.
  func offsets(_ side: ShardFormat.Side) throws(Failure) -> [Int] {
    let name = ShardFormat.offsets(side)
    let stored = try file.read(name, as: UInt64.self)
    let tokenCount = side == .source ? entry.sourceTokens : entry.targetTokens
    guard stored.count == entry.pairs + 1, stored.first == 0, stored.last == UInt64(tokenCount),
      zip(stored, stored.dropFirst()).allSatisfy({ $0 < $1 })
    else {
      throw Failure(
        .badData,
        "\(path): \(name): expected \(entry.pairs + 1) rising offsets from 0 to \(tokenCount),"
          + " found others; prepare the data again")
    }
    return stored.map { Int($0) }
  }

  /// The token ids of a side, read chunk by chunk.
  ///
  /// Throws: `Failure` (.badData) when there are too few, or one is outside of the vocabulary.
  func sequences(_ side: ShardFormat.Side) throws(Failure) -> PackedSequences {
    let offsets = try offsets(side)
    let name = ShardFormat.tokens(side)
    let dataset = try file.dataset(name)
    guard dataset.count == offsets[entry.pairs] else {
      throw Self.mismatch(path, name, "\(offsets[entry.pairs]) tokens", "\(dataset.count)")
    }
    let tokens = try dataset.read(as: Int32.self)
    for (index, token) in tokens.enumerated() where !(0..<Int32(vocabularySize)).contains(token) {
      throw Self.mismatch(
        path, "\(name)[\(index)]", "a token of a vocabulary of \(vocabularySize)", "\(token)")
    }
    return PackedSequences(tokens: tokens, offsets: offsets)
  }

  private static func mismatch(
    _ path: String, _ name: String, _ expected: String, _ found: String
  ) -> Failure {
    Failure(
      .badData, "\(path): \(name): expected \(expected), found \(found); prepare the data again")
  }
}
