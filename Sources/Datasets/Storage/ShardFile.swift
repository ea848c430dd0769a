import Core
import HDF5

/// Names inside a shard: an HDF5 file of packed token ids.
enum ShardFormat {
  static let name = "lockstep-shard"
  static let version = 1
  /// Text pairs kept readable in `/preview`.
  static let previewCount = 20
  /// Above this, token ids take four bytes instead of two.
  static let narrowVocabularySize = 65_536

  static func tokens(_ stream: String) -> String { "/\(stream)/tokens" }
  static func offsets(_ stream: String) -> String { "/\(stream)/offsets" }
  static func preview(_ stream: String) -> String { "/preview/\(stream)" }
  static func tokenCount(_ stream: String) -> String { "\(stream)_token_count" }

  /// `train-00000.h5`, in five digits or more.
  static func fileName(_ index: Int, of split: Split) -> String {
    let digits = String(index)
    return "\(split.rawValue)-" + String(repeating: "0", count: max(0, 5 - digits.count)) + digits
      + ".h5"
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
