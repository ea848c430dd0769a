import Core

/// What a dataset's index has of one shard: made from its content and its file when it is written,
/// or when it is read for a folder that has no index.
package struct ShardSummary: Equatable, Sendable, Codable {
  /// XXH3-128 of the file.
  package var digest: Digest
  /// Bytes of the file.
  package var byteCount: Int
  /// Items, for instance pairs.
  package var items: Int
  /// By stream, without begin and end.
  package var tokens: [Int]
  /// Those among the tokens that stand for text the tokenizer does not know, by stream.
  package var unknownTokens: [Int]
  /// `ShardContent.digest`.
  package var contentDigest: Digest
  package var lengths: LengthTable

  /// - Parameters:
  ///   - streams: their names, in the order of the content.
  ///   - digest: of all bytes of the file.
  ///   - byteCount: of the file.
  package init(
    of content: ShardContent, streams: [String] = DatasetKind.pairs.streams, digest: Digest,
    byteCount: Int
  ) {
    precondition(streams.count == content.streams.count, "every stream has a name")
    self.digest = digest
    self.byteCount = byteCount
    items = content.itemCount
    tokens = content.streams.map(\.tokens.count)
    unknownTokens = content.streams.map { stream in
      stream.tokens.count { $0 == SpecialToken.unknown }
    }
    contentDigest = content.digest(streams: streams)
    lengths = LengthTable(of: content)
  }
}

extension DatasetManifest.ShardEntry {
  /// Of a shard of pairs.
  init(_ shard: ShardSummary, file: String) {
    self.init(
      file: file, digest: "\(shard.digest)", byteCount: shard.byteCount, pairs: shard.items,
      sourceTokens: shard.tokens[0], targetTokens: shard.tokens[1])
  }
}

/// What an item of a dataset is.
package enum DatasetKind: String, Sendable, Codable {
  /// A source text and its translation.
  case pairs

  /// The names of its streams of token ids, in order.
  package var streams: [String] {
    switch self {
    case .pairs: ["source", "target"]
    }
  }
}
