import Core

/// Where a pair lies: a shard of its split and a place in it.
package struct PairReference: Hashable, Sendable {
  package var shard: Int32
  package var index: Int32

  package init(shard: Int32, index: Int32) {
    self.shard = shard
    self.index = index
  }
}

/// A pair with the tokens it takes: source with end, target with begin or end.
package struct PairLength: Equatable, Sendable {
  package var pair: PairReference
  package var source: Int32
  package var target: Int32

  package init(pair: PairReference, source: Int32, target: Int32) {
    self.pair = pair
    self.source = source
    self.target = target
  }
}

/// The pairs of one micro-batch, in their order in it.
package struct PlannedMicroBatch: Equatable, Sendable {
  /// Pairs consumed since the start of the run before this one; 0 for the first of a fixed plan.
  package var position: Int
  package var pairs: [PairReference]
  /// With end tokens, as the model sees them.
  package var sourceTokens: Int
  package var targetTokens: Int
}

/// Which pairs make which micro-batch: pure functions of the seed, the epoch and the lengths.
///
/// An epoch is a shuffled order of shards, cut into windows of a constant number of shards. Inside
/// a window pairs are shuffled, sorted by length in coarse steps unless lengths are to be mixed (so
/// that neighbours are of similar length but meet others every epoch), packed in that order, and
/// the micro-batches are shuffled.
package enum BatchPlan {
  /// Tokens by which lengths count as similar.
  static let lengthStep: Int32 = 4

  /// What is shuffled: the random stream's site.
  private enum Site: Int {
    case shards = 0
    case pairs = 1
    case microBatches = 2
  }

  /// The shards of each window of an epoch, in the order they are trained on.
  package static func windows(
    shardCount: Int, shardsPerWindow: Int, seed: UInt64, epoch: Int
  ) -> [[Int]] {
    let order = shuffled(
      Array(0..<shardCount),
      RandomStream(seed: seed, purpose: .epochShuffle, site: Site.shards.rawValue, a: epoch))
    return stride(from: 0, to: shardCount, by: shardsPerWindow).map {
      Array(order[$0..<min($0 + shardsPerWindow, shardCount)])
    }
  }

  /// The micro-batches of a window; `position` is that of its first pair.
  ///
  /// Precondition: no length is above `tokenBudget`.
  package static func window(
    _ lengths: [PairLength], tokenBudget: Int, groupedByLength: Bool = true, seed: UInt64,
    epoch: Int, window: Int, position: Int
  ) -> [PlannedMicroBatch] {
    func stream(_ site: Site) -> RandomStream {
      RandomStream(
        seed: seed, purpose: .epochShuffle, site: site.rawValue, a: epoch, b: window)
    }
    var order = shuffled(lengths, stream(.pairs))
    if groupedByLength {
      order = order.enumerated().sorted {
        (lengthClass($0.element), $0.offset) < (lengthClass($1.element), $1.offset)
      }.map(\.element)
    }
    var plan = shuffled(packed(order, tokenBudget: tokenBudget), stream(.microBatches))
    var next = position
    for index in plan.indices {
      plan[index].position = next
      next += plan[index].pairs.count
    }
    return plan
  }

  /// Fills micro-batches in the given order until a side's budget is reached; all at position 0.
  package static func packed(
    _ lengths: some Sequence<PairLength>, tokenBudget: Int
  ) -> [PlannedMicroBatch] {
    var plan: [PlannedMicroBatch] = []
    var current = PlannedMicroBatch(position: 0, pairs: [], sourceTokens: 0, targetTokens: 0)
    for length in lengths {
      let source = Int(length.source)
      let target = Int(length.target)
      precondition(max(source, target) <= tokenBudget, "a pair above the budget fits nowhere")
      if current.sourceTokens + source > tokenBudget || current.targetTokens + target > tokenBudget
      {
        plan.append(current)
        current = PlannedMicroBatch(position: 0, pairs: [], sourceTokens: 0, targetTokens: 0)
      }
      current.pairs.append(length.pair)
      current.sourceTokens += source
      current.targetTokens += target
    }
    if !current.pairs.isEmpty { plan.append(current) }
    return plan
  }

  private static func lengthClass(_ length: PairLength) -> Int32 {
    max(length.source, length.target) / lengthStep
  }

  /// Sorted by a random key each; equal keys keep their order.
  private static func shuffled<Element>(_ items: [Element], _ stream: RandomStream) -> [Element] {
    let keys = items.indices.map { stream.bits(at: $0) }
    return items.indices.sorted { (keys[$0], $0) < (keys[$1], $1) }.map { items[$0] }
  }
}
