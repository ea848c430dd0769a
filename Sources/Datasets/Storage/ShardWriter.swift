import Core
import HDF5

/// Writes the shards of a dataset being prepared, one at a time.
struct ShardWriter: Sendable {
  let folder: String
  let tokenizer: Tokenizer
  let languages: Languages
  let provenance: [String]

  /// Writes shard `number` of a split.
  ///
  /// - Parameter preview: the texts of its first pairs, `ShardFormat.previewCount` at most.
  /// Throws: `Failure` (.cannotCreate, .inputOutput); .badData for a text that HDF5 cannot hold.
  func write(
    _ content: ShardContent, preview: [TextPair], split: Split, number: Int
  ) throws(Failure) -> ShardSummary {
    let path = "\(folder)/\(ShardFormat.fileName(number, of: split))"
    let bytes = try image(of: content, preview: preview, split: split, path: path)
    try FileSystem.writeAtomically(bytes, to: path)
    return ShardSummary(of: content, digest: Digest(of: bytes), byteCount: bytes.count)
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
