import Core
import Synchronization

/// A whole split in its own order, packed once: what validation loss and perplexity run over.
package final class FixedPlan: Sendable {
  /// Pairs without those of which a side is longer than the limit.
  package let pairCount: Int
  package let limits: MicroBatchLimits
  private let tokenBudget: Int
  private let longestSide: Int
  private let shardPairCounts: [Int]
  private let statistics: LengthStatistics
  private let cache: ShardCache
  private let plan = Mutex<[PlannedMicroBatch]?>(nil)

  /// Counts are the index's: no shard is read before the plan is asked for.
  ///
  /// - Parameters:
  ///   - tokenBudget: most source and most target tokens of a micro-batch, with end.
  ///   - maximumLength: most tokens of a side, with end; nil for the budget.
  package init(
    _ dataset: Dataset, _ split: Split, tokenBudget: Int, maximumLength: Int? = nil
  ) {
    precondition(tokenBudget > 0, "a micro-batch has tokens")
    self.tokenBudget = tokenBudget
    longestSide = min(tokenBudget, maximumLength ?? tokenBudget)
    let index = dataset.index[split]
    shardPairCounts = index.itemCounts(longestSideAtMost: longestSide - 1)
    statistics = LengthStatistics(index.lengths, longestSide: longestSide)
    pairCount = statistics.pairCount
    limits = MicroBatchLimits(statistics, tokenBudget: tokenBudget)
    cache = ShardCache(dataset, split, capacity: 1)
  }

  /// The micro-batches in order; the first call reads all shards.
  ///
  /// Throws: as `Dataset.content`; `Failure` (.badData) when the index says otherwise.
  package func microBatches() throws(Failure) -> [PlannedMicroBatch] {
    try plan.withLock { (known) throws(Failure) -> [PlannedMicroBatch] in
      if let known { return known }
      let lengths = try cache.lengths(
        of: shardPairCounts.indices, counts: shardPairCounts, longestSide: longestSide,
        statistics: statistics)
      var plan = BatchPlan.packed(lengths, tokenBudget: tokenBudget)
      var position = 0
      for index in plan.indices {
        plan[index].position = position
        position += plan[index].pairs.count
      }
      known = plan
      return plan
    }
  }

  /// The tokens of one micro-batch.
  package func load(_ planned: PlannedMicroBatch) throws(Failure) -> MicroBatch {
    try cache.microBatch(planned)
  }
}
