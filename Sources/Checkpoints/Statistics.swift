/// What a reader wants to know of a tensor's values, gathered block by block.
package struct Statistics: Codable, Equatable, Sendable {
  /// Of the finite values; nil when there are none.
  package private(set) var mean: Double?
  package private(set) var standardDeviation: Double?
  package private(set) var absoluteMaximum: Double?
  package private(set) var nanCount = 0
  package private(set) var infinityCount = 0

  private var finiteCount = 0
  /// Sum of squared distances from the mean.
  private var squares = 0.0

  private enum CodingKeys: String, CodingKey {
    case mean
    case standardDeviation = "standard_deviation"
    case absoluteMaximum = "absolute_maximum"
    case nanCount = "nan"
    case infinityCount = "infinite"
  }

  package init() {}

  /// Adds a block of values.
  ///
  /// Source: Chan, Golub and LeVeque, 1979: means and squares of two samples merged exactly in form, without
  /// the cancellation of sum(x^2) - n mean^2.
  package mutating func add<T: BinaryFloatingPoint>(_ values: some Collection<T>) {
    var (count, sum, largest) = (0, 0.0, 0.0)
    for value in values {
      guard value.isFinite else {
        if value.isNaN { nanCount += 1 } else { infinityCount += 1 }
        continue
      }
      count += 1
      sum += Double(value)
      largest = max(largest, abs(Double(value)))
    }
    guard count > 0 else { return }
    let blockMean = sum / Double(count)
    var blockSquares = 0.0
    for value in values where value.isFinite {
      let distance = Double(value) - blockMean
      blockSquares += distance * distance
    }
    let total = finiteCount + count
    let distance = blockMean - (mean ?? 0)
    let weight = Double(finiteCount) * Double(count) / Double(total)
    squares += blockSquares + distance * distance * weight
    mean = (mean ?? 0) + distance * Double(count) / Double(total)
    absoluteMaximum = max(absoluteMaximum ?? 0, largest)
    finiteCount = total
    standardDeviation = (squares / Double(total)).squareRoot()
  }
}
