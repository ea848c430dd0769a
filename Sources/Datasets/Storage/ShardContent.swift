import Core

/// The items of one shard: in each stream of the dataset a sequence of token ids an item, without
/// begin and end.
package struct ShardContent: Equatable, Sendable {
  /// In the order of the dataset's streams; each has the same number of sequences.
  package var streams: [PackedSequences]

  package init(streams: [PackedSequences]) {
    precondition(
      !streams.isEmpty && streams.allSatisfy { $0.count == streams[0].count },
      "every item has a sequence in every stream")
    self.streams = streams
  }

  /// Pairs.
  package init(source: PackedSequences, target: PackedSequences) {
    self.init(streams: [source, target])
  }

  package var itemCount: Int { streams[0].count }

  /// Of pairs.
  package var source: PackedSequences { streams[0] }
  /// Of pairs.
  package var target: PackedSequences { streams[1] }
}

extension ShardContent {
  /// The digest of what the shard makes a step compute, whatever its file looks like: of a line a
  /// stream, in order, `NAME ITEMS LENGTHS TOKENS` and a line feed, where the latter two are the
  /// XXH3-128 of the lengths, and of the token ids, as little-endian int32.
  package func digest(streams names: [String]) -> Digest {
    let lines = zip(names, streams).map { name, sequences in
      let lengths = (0..<sequences.count).map { Int32(sequences.length($0)) }
      return "\(name) \(sequences.count) \(Self.digest(lengths)) \(Self.digest(sequences.tokens))\n"
    }
    return Digest(of: lines.joined())
  }

  /// This machine is little-endian.
  private static func digest(_ numbers: [Int32]) -> Digest {
    numbers.withUnsafeBytes { Digest(of: $0) }
  }
}
