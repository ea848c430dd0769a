import Core
import Synchronization

/// The micro-batches of one optimizer step, for all replicas.
package struct StepPlan: Equatable, Sendable {
  package var microBatches: [PlannedMicroBatch]
  /// Of the first pair.
  package var epoch: Int
  package var position: Int
  /// Where the next step starts.
  package var nextPosition: Int
  /// Over all micro-batches: the loss is divided by it.
  package var targetTokens: Int
  package var sourceTokens: Int
}

/// The endless stream of micro-batches of a run.
///
/// The stream is a function of dataset, seed and limits; a position in it is the number of pairs
/// before it since the start of the run. Which replica asks, and in what order, changes nothing.
package final class Loader: Sendable {
  /// What the stream is a function of, beside the dataset.
  package struct Options: Equatable, Sendable {
    package var seed: UInt64
    /// Most source and most target tokens of a micro-batch, with end.
    package var tokenBudget: Int
    /// Whether the pairs of a micro-batch are of similar length.
    package var groupsByLength: Bool
    /// Pairs with a longer side (with end) are left out; nil leaves out those above the budget.
    package var maximumLength: Int?
    package var microBatchesPerStep: Int
    /// Shards that are shuffled together and lie in memory together.
    package var shardsPerWindow: Int

    package init(
      seed: UInt64, tokenBudget: Int, groupsByLength: Bool = true, maximumLength: Int? = nil,
      microBatchesPerStep: Int, shardsPerWindow: Int = 4
    ) {
      precondition(
        tokenBudget > 0 && microBatchesPerStep > 0 && shardsPerWindow > 0, "limits are positive")
      self.seed = seed
      self.tokenBudget = tokenBudget
      self.groupsByLength = groupsByLength
      self.maximumLength = maximumLength
      self.microBatchesPerStep = microBatchesPerStep
      self.shardsPerWindow = shardsPerWindow
    }

    /// No side of a pair that is trained on is longer, with end.
    package var longestSide: Int { min(tokenBudget, maximumLength ?? tokenBudget) }
  }

  /// Windows whose plans, and whose shards, are kept.
  package static let cachedWindows = 2

  package let options: Options
  /// Pairs of an epoch.
  package let pairCount: Int
  /// Pairs of the split that are too long to be trained on.
  package let excludedCount: Int
  package let limits: MicroBatchLimits

  private let dataset: Dataset
  private let split: Split
  /// Pairs of each shard that are trained on.
  private let shardPairCounts: [Int]
  private let statistics: LengthStatistics
  private let cache: ShardCache
  private let plans = Mutex<[(window: WindowKey, plan: [PlannedMicroBatch])]>([])
  private let orders = Mutex<[EpochOrder]>([])

  private struct WindowKey: Equatable {
    var epoch: Int
    var window: Int
  }

  /// The windows of an epoch.
  private struct EpochOrder {
    var epoch: Int
    var windows: [[Int]]
    /// Positions of their first pairs.
    var starts: [Int]
  }

  /// Counts are the index's: no shard is read before its window is planned.
  ///
  /// Throws: `Failure` (.badData) when no pair is short enough.
  package init(
    _ dataset: Dataset, _ split: Split = .training, options: Options
  ) throws(Failure) {
    self.dataset = dataset
    self.split = split
    self.options = options
    let index = dataset.index[split]
    shardPairCounts = index.itemCounts(longestSideAtMost: options.longestSide - 1)
    statistics = LengthStatistics(index.lengths, longestSide: options.longestSide)
    pairCount = statistics.pairCount
    excludedCount = dataset.pairCount(of: split) - pairCount
    limits = MicroBatchLimits(statistics, tokenBudget: options.tokenBudget)
    cache = ShardCache(
      dataset, split, capacity: Self.cachedWindows * options.shardsPerWindow)
    guard pairCount > 0 else {
      throw Failure(
        .badData,
        "\(dataset.path): expected \(split.rawValue) pairs of at most \(options.longestSide) tokens"
          + " a side, found none among \(dataset.pairCount(of: split)); raise batch.tokens or"
          + " data.maximum_length")
    }
  }

  /// Shards in memory.
  package var cachedShardCount: Int { cache.count }

  /// The step that starts at a position.
  ///
  /// Throws: `Failure` (.badData) when no micro-batch starts there; as `Dataset.content`.
  package func plan(position: Int) throws(Failure) -> StepPlan {
    precondition(position >= 0, "positions count from 0")
    var step = StepPlan(
      microBatches: [], epoch: position / pairCount, position: position, nextPosition: position,
      targetTokens: 0, sourceTokens: 0)
    while step.microBatches.count < options.microBatchesPerStep {
      let (window, first) = try locate(step.nextPosition)
      let missing = options.microBatchesPerStep - step.microBatches.count
      for planned in window[first...].prefix(missing) {
        step.microBatches.append(planned)
        step.nextPosition += planned.pairs.count
        step.targetTokens += planned.targetTokens
        step.sourceTokens += planned.sourceTokens
      }
    }
    return step
  }

  /// The tokens of one micro-batch.
  ///
  /// Throws: as `Dataset.content`.
  package func load(_ planned: PlannedMicroBatch) throws(Failure) -> MicroBatch {
    try cache.microBatch(planned)
  }

  /// The window a position lies in, and which of its micro-batches starts there.
  private func locate(
    _ position: Int
  ) throws(Failure) -> (window: [PlannedMicroBatch], first: Int) {
    let order = order(ofEpoch: position / pairCount)
    // Windows without a pair start where the next one does.
    guard let window = order.starts.lastIndex(where: { $0 <= position }) else {
      preconditionFailure("the windows of an epoch hold all its pairs")
    }
    let plan = try windowPlan(
      WindowKey(epoch: order.epoch, window: window), shards: order.windows[window],
      position: order.starts[window])
    guard let first = plan.firstIndex(where: { $0.position == position }) else {
      throw Failure(
        .badData,
        "\(dataset.path): position \(position) is not a micro-batch boundary; the run was"
          + " started with other data or batch settings")
    }
    return (plan, first)
  }

  private func order(ofEpoch epoch: Int) -> EpochOrder {
    orders.withLock { orders in
      if let known = orders.first(where: { $0.epoch == epoch }) { return known }
      let windows = BatchPlan.windows(
        shardCount: shardPairCounts.count, shardsPerWindow: options.shardsPerWindow,
        seed: options.seed, epoch: epoch)
      var start = epoch * pairCount
      var starts: [Int] = []
      for shards in windows {
        starts.append(start)
        start += shards.reduce(0) { $0 + shardPairCounts[$1] }
      }
      let order = EpochOrder(epoch: epoch, windows: windows, starts: starts)
      if orders.count == Self.cachedWindows { orders.removeFirst() }
      orders.append(order)
      return order
    }
  }

  private func windowPlan(
    _ key: WindowKey, shards: [Int], position: Int
  ) throws(Failure) -> [PlannedMicroBatch] {
    try plans.withLock { (plans) throws(Failure) -> [PlannedMicroBatch] in
      if let known = plans.first(where: { $0.window == key }) { return known.plan }
      let lengths = try cache.lengths(
        of: shards, counts: shardPairCounts, longestSide: options.longestSide,
        statistics: statistics)
      let plan = BatchPlan.window(
        lengths, tokenBudget: options.tokenBudget, groupedByLength: options.groupsByLength,
        seed: options.seed, epoch: key.epoch, window: key.window, position: position)
      if plans.count == Self.cachedWindows { plans.removeFirst() }
      plans.append((key, plan))
      return plan
    }
  }
}
