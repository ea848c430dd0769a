import Core

/// What is known of every shard of a dataset without reading one: enough to plan an epoch, to check
/// each shard when it is needed, and to tell one dataset from another.
package struct DatasetIndex: Equatable, Sendable {
  /// The shards of one split, column by column, and what its items are like.
  package struct SplitIndex: Equatable, Sendable {
    package var digests: [Digest] = []
    package var byteCounts: [Int] = []
    package var items: [Int] = []
    /// Row-major: a row a shard, a column a stream; without begin and end.
    package var tokens: [Int] = []
    /// Likewise, of the tokens that stand for unknown text.
    package var unknownTokens: [Int] = []
    /// `ShardContent.digest`.
    package var contentDigests: [Digest] = []
    /// Items of shard i by their longest side: `longestSides[longestSideOffsets[i] ..<
    /// longestSideOffsets[i + 1]]`, ascending.
    package var longestSideOffsets = [0]
    package var longestSides: [Int32] = []
    package var longestSideCounts: [Int32] = []
    /// Of all items.
    package var lengths = LengthTable()

    package init() {}
  }

  /// The names of the streams, in order.
  package let streams: [String]
  package internal(set) var splits: [Split: SplitIndex]

  /// Pairs and tokens are counted in 32 bits within a shard.
  static let shardCountLimit = Int(Int32.max) - 1
  /// Shards of a split.
  static let shardLimit = 1 << 20

  init(streams: [String], splits: [Split: SplitIndex]) {
    self.streams = streams
    self.splits = splits
  }

  package subscript(_ split: Split) -> SplitIndex { splits[split] ?? SplitIndex() }

  /// XXH3-128 over what decides a step and nothing else: the kind of items, the tokenizer, and the
  /// training shards' content digests in order, a line each.
  ///
  /// Names of files, origin, languages and held-out items have no part in it.
  package func contentDigest(kind: DatasetKind, tokenizerDigest: String) -> Digest {
    let lines = ["lockstep-content 1", kind.rawValue, tokenizerDigest]
    let shards = self[.training].contentDigests.map { "\($0)" }
    return Digest(of: (lines + shards).map { $0 + "\n" }.joined())
  }
}

extension DatasetIndex.SplitIndex {
  package var shardCount: Int { digests.count }

  package var itemCount: Int { items.reduce(0, +) }

  /// Tokens of a stream over all shards.
  package func tokenCount(stream: Int, of streamCount: Int) -> Int {
    stride(from: stream, to: tokens.count, by: streamCount).reduce(0) { $0 + tokens[$1] }
  }

  /// What the file of a shard must be.
  package func expectation(shard: Int) -> ShardExpectation {
    let streamCount = tokens.count / shardCount
    return ShardExpectation(
      digest: digests[shard], byteCount: byteCounts[shard], items: items[shard],
      tokens: Array(tokens[shard * streamCount..<(shard + 1) * streamCount]))
  }

  /// Items of each shard whose longest side, without begin and end, is at most `length`.
  package func itemCounts(longestSideAtMost length: Int) -> [Int] {
    digests.indices.map { shard in
      (longestSideOffsets[shard]..<longestSideOffsets[shard + 1])
        .reduce(0) { $0 + (Int(longestSides[$1]) <= length ? Int(longestSideCounts[$1]) : 0) }
    }
  }
}

/// Makes an index from the summaries of shards.
package struct DatasetIndexBuilder: Sendable {
  private let streams: [String]
  private var splits: [Split: DatasetIndex.SplitIndex] = [:]
  private var lengths: [Split: [LengthTable.Lengths: Int]] = [:]

  package init(streams: [String] = DatasetKind.pairs.streams) { self.streams = streams }

  /// Appends the next shard of a split.
  package mutating func append(_ shard: ShardSummary, to split: Split) {
    precondition(shard.tokens.count == streams.count, "every stream has its tokens")
    var entry = splits.removeValue(forKey: split) ?? .init()
    entry.digests.append(shard.digest)
    entry.byteCounts.append(shard.byteCount)
    entry.items.append(shard.items)
    entry.tokens += shard.tokens
    entry.unknownTokens += shard.unknownTokens
    entry.contentDigests.append(shard.contentDigest)
    for (length, count) in shard.lengths.longestSides {
      entry.longestSides.append(length)
      entry.longestSideCounts.append(Int32(count))
    }
    entry.longestSideOffsets.append(entry.longestSides.count)
    splits[split] = entry
    for row in shard.lengths.rows {
      lengths[split, default: [:]][row.lengths, default: 0] += row.count
    }
  }

  package func index() -> DatasetIndex {
    var splits = splits
    for (split, counts) in lengths { splits[split]?.lengths = LengthTable(counts) }
    return DatasetIndex(streams: streams, splits: splits)
  }
}
