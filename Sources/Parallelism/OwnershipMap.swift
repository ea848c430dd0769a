import Tensors

/// Which rank updates which parameters: contiguous spans in rank order, cut at multiples of
/// `reductionChunkCount` only, as equal as possible. With few parameters the last are empty.
package struct OwnershipMap: Sendable, Equatable {
  package let parameterCount: Int
  /// One span a rank; together exactly all parameters.
  package let spans: [Range<Int>]

  package init(parameterCount: Int, ranks: Int) {
    precondition(parameterCount >= 0 && ranks > 0, "nothing to own, or nobody to own it")
    self.parameterCount = parameterCount
    let chunks = (parameterCount + reductionChunkCount - 1) / reductionChunkCount
    spans = (0..<ranks).map { rank in
      let share = equalShare(of: chunks, part: rank, parts: ranks)
      let start = min(parameterCount, share.lowerBound * reductionChunkCount)
      let end = min(parameterCount, share.upperBound * reductionChunkCount)
      return start..<end
    }
  }

  /// Piece `number` of a rank's span when spans are cut into pieces; empty past the last.
  func piece(_ number: Int, of rank: Int, count: Int) -> Range<Int> {
    let span = spans[rank]
    let start = min(span.upperBound, span.lowerBound + number * count)
    return start..<min(span.upperBound, start + count)
  }

  /// How many pieces the largest span has.
  func pieceCount(_ count: Int) -> Int {
    spans.map { ($0.count + count - 1) / count }.max() ?? 0
  }
}
