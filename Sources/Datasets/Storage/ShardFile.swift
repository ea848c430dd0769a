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

/// Writes the shards of a dataset being prepared.
struct ShardWriter {
  let folder: String
  let tokenizer: Tokenizer
  let languages: Languages
  let provenance: [String]

  /// Writes `<split>-00000.h5` and so on, as many as it takes; `made` hears of each in order.
  func write(
    _ pairs: EncodedPairs, split: Split, shardPairs: Int, made: (ShardSummary) -> Void
  ) throws(Failure) -> DatasetManifest.SplitEntry {
    var entries: [DatasetManifest.ShardEntry] = []
    for first in stride(from: 0, to: pairs.count, by: shardPairs) {
      let range = first..<min(first + shardPairs, pairs.count)
      let name = ShardFormat.fileName(entries.count, of: split)
      let preview = Array(pairs.texts[range].prefix(ShardFormat.previewCount))
      let content = pairs.shard(range)
      let path = "\(folder)/\(name)"
      let bytes = try image(of: content, preview: preview, split: split, path: path)
      try FileSystem.writeAtomically(bytes, to: path)
      let summary = ShardSummary(
        of: content, digest: Digest(of: bytes), byteCount: bytes.count)
      made(summary)
      entries.append(
        .init(
          file: name, digest: "\(summary.digest)", byteCount: summary.byteCount,
          pairs: summary.items, sourceTokens: summary.tokens[0], targetTokens: summary.tokens[1]))
    }
    return .init(shards: entries)
  }

  /// The bytes of a shard: the same for the same content.
  private func image(
    of content: ShardContent, preview: [TextPair], split: Split, path: String
  ) throws(Failure) -> [UInt8] {
    let file = try File.createInMemory(named: path)
    let isNarrow = tokenizer.vocabularySize <= ShardFormat.narrowVocabularySize
    typealias Attribute = ShardFormat.Attribute
    let texts = [
      (Attribute.format, ShardFormat.name), (Attribute.split, split.rawValue),
      (Attribute.tokenType, isNarrow ? "uint16" : "int32"),
      (Attribute.tokenizerDigest, "\(tokenizer.digest)"),
      (Attribute.sourceLanguage, languages.source), (Attribute.targetLanguage, languages.target),
      (Attribute.provenance, provenance.joined(separator: "\n")),
    ]
    let numbers = [
      (Attribute.version, ShardFormat.version), (Attribute.sequenceCount, content.itemCount),
      (Attribute.vocabularySize, tokenizer.vocabularySize),
      (ShardFormat.tokenCount("source"), content.source.tokens.count),
      (ShardFormat.tokenCount("target"), content.target.tokens.count),
    ]
    for (name, text) in texts { try file.setAttribute(name, to: .text(text)) }
    for (name, number) in numbers { try file.setAttribute(name, to: .signed(Int64(number))) }
    for (side, sequences) in zip(DatasetKind.pairs.streams, content.streams) {
      let path = ShardFormat.tokens(side)
      if isNarrow {
        try file.write(sequences.tokens.map { UInt16($0) }, to: path, storage: .compressed)
      } else {
        try file.write(sequences.tokens, to: path, storage: .compressed)
      }
      try file.write(
        sequences.offsets.map { UInt64($0) }, to: ShardFormat.offsets(side), storage: .compressed)
    }
    try file.writeTexts(preview.map(\.source), to: ShardFormat.preview("source"))
    try file.writeTexts(preview.map(\.target), to: ShardFormat.preview("target"))
    return try file.closeAndReturnImage()
  }
}
