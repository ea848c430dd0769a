import Core

/// The pairs of one split with their token ids, which are without begin and end.
struct EncodedPairs {
  var texts: [TextPair] = []
  var source = PackedSequences()
  var target = PackedSequences()

  /// Pairs between two lines of progress: about 20 seconds.
  private static let progressStep = 100_000
  /// Characters no piece stands for more of: pieces have 16 of normalised text, where 4 of plain
  /// text may be one.
  private static let mostCharactersOfPiece = 64

  /// Encodes pairs; those with more than `maximumPieces` on a side, or none, are left out.
  init(
    _ pairs: [TextPair], with tokenizer: Tokenizer, maximumPieces: Int,
    counting counts: inout PairCounts, progress: (String) -> Void
  ) throws(Failure) {
    for (index, pair) in pairs.enumerated() {
      if index > 0, index.isMultiple(of: Self.progressStep) {
        progress("encoded \(index) of \(pairs.count) pairs")
      }
      // To cut a text takes time and memory with the square of its length.
      guard
        [pair.source, pair.target].allSatisfy({
          $0.unicodeScalars.count / Self.mostCharactersOfPiece <= maximumPieces
        })
      else {
        counts.tooLong += 1
        continue
      }
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
