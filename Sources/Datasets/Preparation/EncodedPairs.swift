import Core

/// The pairs of one split with their token ids, which are without begin and end.
struct EncodedPairs {
  var texts: [TextPair] = []
  var source = PackedSequences()
  var target = PackedSequences()

  /// Encodes pairs; those with more than `maximumPieces` on a side, or none, are left out.
  init(
    _ pairs: [TextPair], with tokenizer: Tokenizer, maximumPieces: Int,
    counting counts: inout PairCounts
  ) throws(Failure) {
    for pair in pairs {
      let source = try tokenizer.encode(pair.source)
      let target = try tokenizer.encode(pair.target)
      if source.isEmpty || target.isEmpty {
        counts.empty += 1
      } else if max(source.count, target.count) > maximumPieces {
        counts.tooLong += 1
      } else {
        counts.kept += 1
        texts.append(pair)
        self.source.append(source)
        self.target.append(target)
      }
    }
  }

  var count: Int { texts.count }

  /// Pairs `range` as a shard of their own.
  func shard(_ range: Range<Int>) -> ShardContent {
    func cut(_ sequences: PackedSequences) -> PackedSequences {
      let first = sequences.offsets[range.lowerBound]
      return PackedSequences(
        tokens: Array(sequences.tokens[first..<sequences.offsets[range.upperBound]]),
        offsets: sequences.offsets[range.lowerBound...range.upperBound].map { $0 - first })
    }
    return ShardContent(source: cut(source), target: cut(target))
  }

  /// One text a line.
  func lines(_ side: KeyPath<TextPair, String>) -> [UInt8] {
    texts.flatMap { Array($0[keyPath: side].utf8) + [UInt8(ascii: "\n")] }
  }
}
