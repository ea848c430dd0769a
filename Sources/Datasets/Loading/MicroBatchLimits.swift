import Core

/// How many pairs have how many tokens on each side, with end.
package struct LengthStatistics: Equatable, Sendable {
  /// Index: length; element: pairs of that length.
  package private(set) var sources: [Int] = []
  package private(set) var targets: [Int] = []
  package private(set) var pairCount = 0

  package init() {}

  /// Pairs of a split of which no side, with end, is longer than `longestSide`.
  ///
  /// - Parameter table: their lengths without end.
  package init(_ table: LengthTable, longestSide: Int) {
    for row in table.rows where Int(row.lengths.max()) < longestSide {
      Self.add(row.count, of: Int(row.lengths[0]) + 1, to: &sources)
      Self.add(row.count, of: Int(row.lengths[1]) + 1, to: &targets)
      pairCount += row.count
    }
  }

  package mutating func add(_ length: PairLength) {
    Self.add(1, of: Int(length.source), to: &sources)
    Self.add(1, of: Int(length.target), to: &targets)
    pairCount += 1
  }

  private static func add(_ count: Int, of length: Int, to histogram: inout [Int]) {
    if length >= histogram.count {
      histogram += [Int](repeating: 0, count: length + 1 - histogram.count)
    }
    histogram[length] += count
  }

  /// Whether there are as many pairs of each length on each side, or more: then every limit of
  /// theirs holds for these.
  func covers(_ other: LengthStatistics) -> Bool {
    func covers(_ own: [Int], _ theirs: [Int]) -> Bool {
      theirs.count <= own.count && zip(own, theirs).allSatisfy { $0 >= $1 }
    }
    return covers(sources, other.sources) && covers(targets, other.targets)
  }
}

/// What no micro-batch of a plan exceeds: the arena is planned from it.
package struct MicroBatchLimits: Equatable, Sendable {
  package var sequences = 0
  package var sourceTokens = 0
  package var targetTokens = 0
  package var longestSource = 0
  package var longestTarget = 0
  /// Over the sequences of a micro-batch, n source and m target tokens: at most the sums of n n,
  /// of m m and of n m.
  package var sourceSquares = 0
  package var targetSquares = 0
  package var crossProducts = 0

  package init() {}

  /// Limits of any way to fill `tokenBudget` with such pairs.
  package init(_ statistics: LengthStatistics, tokenBudget: Int) {
    let (sources, targets) = (statistics.sources, statistics.targets)
    sequences = min(
      Self.mostSequences(sources, tokenBudget), Self.mostSequences(targets, tokenBudget))
    sourceTokens = min(tokenBudget, Self.tokens(sources))
    targetTokens = min(tokenBudget, Self.tokens(targets))
    longestSource = max(0, sources.count - 1)
    longestTarget = max(0, targets.count - 1)
    sourceSquares = Self.mostSquares(sources, tokenBudget)
    targetSquares = Self.mostSquares(targets, tokenBudget)
    // Cauchy-Schwarz, and rounded up against the square root's own error.
    let bound = (Double(sourceSquares) * Double(targetSquares)).squareRoot()
    crossProducts = Int(bound.rounded(.up)) + 1
  }

  /// Limits of both plans.
  package func union(_ other: MicroBatchLimits) -> MicroBatchLimits {
    var result = self
    let fields: [WritableKeyPath<MicroBatchLimits, Int>] = [
      \.sequences, \.sourceTokens, \.targetTokens, \.longestSource, \.longestTarget,
      \.sourceSquares, \.targetSquares, \.crossProducts,
    ]
    for field in fields {
      result[keyPath: field] = max(self[keyPath: field], other[keyPath: field])
    }
    return result
  }

  private static func tokens(_ histogram: [Int]) -> Int {
    histogram.enumerated().reduce(0) { $0 + $1.offset * $1.element }
  }

  /// The shortest first.
  private static func mostSequences(_ histogram: [Int], _ budget: Int) -> Int {
    var room = budget
    var count = 0
    for (length, available) in histogram.enumerated() where length > 0 {
      let taken = min(available, room / length)
      count += taken
      room -= taken * length
    }
    return count
  }

  /// The longest first, the last one cut to what is left.
  private static func mostSquares(_ histogram: [Int], _ budget: Int) -> Int {
    var room = budget
    var squares = 0
    for (length, available) in histogram.enumerated().reversed() where length > 0 {
      let tokens = min(room, available * length)
      squares += tokens * length
      room -= tokens
    }
    return squares
  }
}
