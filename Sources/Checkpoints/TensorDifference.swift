/// How far apart two tensors of one shape are, gathered block by block.
package struct TensorDifference: Codable, Equatable, Sendable {
  package private(set) var count = 0
  /// Elements that are not equal bit by bit.
  package private(set) var differingCount = 0
  /// max |a - b| over elements that are finite in both.
  package private(set) var largestAbsolute = 0.0
  /// max |a - b| / max(|a|, |b|) over the same elements.
  package private(set) var largestRelative = 0.0
  /// Differing elements of which at least one is not finite.
  package private(set) var nonFiniteCount = 0

  private var squaresOfFirst = 0.0
  private var squaresOfSecond = 0.0
  private var products = 0.0

  private enum CodingKeys: String, CodingKey {
    case count
    case differingCount = "differing"
    case largestAbsolute = "largest_absolute"
    case largestRelative = "largest_relative"
    case nonFiniteCount = "differing_not_finite"
    case squaresOfFirst = "squares_of_first"
    case squaresOfSecond = "squares_of_second"
    case products
  }

  package init() {}

  /// Euclidean norms of the finite elements.
  package var norms: (first: Double, second: Double) {
    (squaresOfFirst.squareRoot(), squaresOfSecond.squareRoot())
  }

  /// a b / (|a| |b|); nil when one of them is zero.
  package var cosine: Double? {
    let norms = norms
    guard norms.first > 0, norms.second > 0 else { return nil }
    return products / norms.first / norms.second
  }

  /// Adds the next block of both.
  package mutating func add<T: Comparable>(
    _ first: [T], _ second: [T], bits: (T) -> UInt64, value: (T) -> Double
  ) {
    precondition(first.count == second.count, "blocks of different lengths")
    count += first.count
    for index in first.indices {
      let isEqual = bits(first[index]) == bits(second[index])
      let (a, b) = (value(first[index]), value(second[index]))
      if !isEqual { differingCount += 1 }
      guard a.isFinite, b.isFinite else {
        if !isEqual { nonFiniteCount += 1 }
        continue
      }
      squaresOfFirst += a * a
      squaresOfSecond += b * b
      products += a * b
      guard !isEqual else { continue }
      let distance = abs(a - b)
      largestAbsolute = max(largestAbsolute, distance)
      let scale = max(abs(a), abs(b))
      if scale > 0 { largestRelative = max(largestRelative, distance / scale) }
    }
  }
}
