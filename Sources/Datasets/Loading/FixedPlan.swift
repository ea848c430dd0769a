import Core

/// A whole split in its own order, packed once: what validation loss and perplexity run over.
package struct FixedPlan: Sendable {
  package let microBatches: [PlannedMicroBatch]
  /// Pairs without those of which a side is longer than the limit.
  package let pairCount: Int
  package let limits: MicroBatchLimits
  private let cache: ShardCache

  /// - Parameters:
  ///   - tokenBudget: most source and most target tokens of a micro-batch, with end.
  ///   - maximumLength: most tokens of a side, with end; nil for the budget.
  ///
  /// Throws: as `Dataset.lengths`.
  package init(
    _ dataset: Dataset, _ split: Split, tokenBudget: Int, maximumLength: Int? = nil
  ) throws(Failure) {
    precondition(tokenBudget > 0, "a micro-batch has tokens")
    let limit = min(tokenBudget, maximumLength ?? tokenBudget)
    var lengths: [PairLength] = []
    var statistics = LengthStatistics()
    for shard in dataset.shards(of: split).indices {
      for length in try dataset.lengths(shard: shard, of: split)
      where max(length.source, length.target) <= limit {
        lengths.append(length)
        statistics.add(length)
      }
    }
    var plan = BatchPlan.packed(lengths, tokenBudget: tokenBudget)
    var position = 0
    for index in plan.indices {
      plan[index].position = position
      position += plan[index].pairs.count
    }
    microBatches = plan
    pairCount = lengths.count
    limits = MicroBatchLimits(statistics, tokenBudget: tokenBudget)
    cache = ShardCache(dataset, split, capacity: 1)
  }

  /// The tokens of one micro-batch.
  package func load(_ planned: PlannedMicroBatch) throws(Failure) -> MicroBatch {
    try cache.microBatch(planned)
  }
}
