import Core
import Datasets
import Testing

@Suite final class LoaderTests {
  let scratch = ScratchFolder()

  /// A dataset of several shards.
  private func setting(
    pairs: Int = 500, shardPairs: Int = 64, maximumLength: Int = 10
  ) throws -> Setting {
    try scratch.prepare(
      "data", .copy(pairs: pairs, shardPairs: shardPairs, maximumLength: maximumLength))
    return Setting(dataset: try Dataset(path: "\(scratch.path)/data"))
  }

  /// What a run over a dataset would use.
  private struct Setting {
    let dataset: Dataset

    func loader(
      budget: Int = 60, groups: Bool = true, steps: Int = 8, limit: Int? = nil, window: Int = 3,
      seed: UInt64 = 5
    ) throws -> Loader {
      try Loader(
        dataset,
        options: .init(
          seed: seed, tokenBudget: budget, groupsByLength: groups, maximumLength: limit,
          microBatchesPerStep: steps, shardsPerWindow: window))
    }
  }

  /// Micro-batches from a position until at least `epochs` epochs are through, as `replicas` read
  /// them: each its own range, with a loader of its own.
  private func stream(
    _ setting: Setting, epochs: Int, replicas: Int, groups: Bool = true, lanes: Int = 8
  ) throws -> [MicroBatch] {
    let loaders = try (0..<replicas).map { _ in try setting.loader(groups: groups, steps: lanes) }
    let cuts = (0...replicas).map { $0 * lanes / replicas }
    var result: [MicroBatch] = []
    var position = 0
    while position < epochs * loaders[0].pairCount {
      var step: [MicroBatch] = []
      for (replica, loader) in loaders.enumerated() {
        let plan = try loader.plan(position: position)
        for index in cuts[replica]..<cuts[replica + 1] {
          step.append(try loader.load(plan.microBatches[index]))
        }
        if replica == replicas - 1 { position = plan.nextPosition }
      }
      result += step
    }
    return result
  }

  @Test(arguments: [true, false])
  func everyPairComesOnceAnEpochWhateverTheReplicas(groups: Bool) throws {
    let setting = try self.setting()
    let pairCount = try setting.loader().pairCount
    #expect(pairCount == setting.dataset.pairCount(of: .training))
    let expected = try setting.dataset.allPairs(.training).sorted { "\($0)" < "\($1)" }
    let reference = try stream(setting, epochs: 3, replicas: 1, groups: groups)
    var pairs: [[[Int32]]] = []
    for microBatch in reference { pairs += try #require(microBatch.pairs) }
    var epochs: [[[[Int32]]]] = []
    for epoch in 0..<3 {
      let found = Array(pairs[epoch * pairCount..<(epoch + 1) * pairCount])
      #expect(found.sorted { "\($0)" < "\($1)" } == expected)
      epochs.append(found)
    }
    #expect(epochs[0] != epochs[1] && epochs[1] != epochs[2])
    for replicas in [2, 3, 4, 8] {
      #expect(try stream(setting, epochs: 3, replicas: replicas, groups: groups) == reference)
    }
  }

  @Test func resumingAtAnyStepGivesTheSameStream() throws {
    let setting = try self.setting(pairs: 200)
    let loader = try setting.loader(steps: 3)
    var plans: [StepPlan] = []
    var position = 0
    while position < 3 * loader.pairCount {
      plans.append(try loader.plan(position: position))
      position = plans[plans.count - 1].nextPosition
    }
    for (index, plan) in plans.enumerated() {
      let fresh = try setting.loader(steps: 3)
      #expect(try fresh.plan(position: plan.position) == plan)
      if index + 1 < plans.count {
        #expect(try fresh.plan(position: plan.nextPosition) == plans[index + 1])
      }
    }
    // Backwards as well.
    for plan in plans.reversed() { #expect(try loader.plan(position: plan.position) == plan) }
  }

  @Test func positionsInsideAMicroBatchAreErrors() throws {
    let loader = try self.setting(pairs: 100).loader(steps: 1)
    var boundaries: Set<Int> = []
    var position = 0
    while position < 2 * loader.pairCount {
      boundaries.insert(position)
      position = try loader.plan(position: position).nextPosition
    }
    for position in 0..<2 * loader.pairCount where !boundaries.contains(position) {
      let found = failure { _ = try loader.plan(position: position) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("not a micro-batch boundary") == true)
    }
    #expect(boundaries.contains(loader.pairCount))
  }

  @Test(arguments: [11, 12, 30, 61, 1000])
  func noMicroBatchExceedsTheBudgetOrTheLimits(budget: Int) throws {
    let loader = try self.setting(pairs: 300).loader(budget: budget, steps: 5)
    var position = 0
    while position < loader.pairCount {
      let plan = try loader.plan(position: position)
      position = plan.nextPosition
      #expect(plan.sourceTokens == plan.microBatches.reduce(0) { $0 + $1.sourceTokens })
      #expect(plan.targetTokens == plan.microBatches.reduce(0) { $0 + $1.targetTokens })
      for planned in plan.microBatches {
        let microBatch = try loader.load(planned)
        #expect(microBatch.source.tokens.count == planned.sourceTokens)
        #expect(microBatch.targetOutput.count == planned.targetTokens)
        #expect(planned.sourceTokens <= budget && planned.targetTokens <= budget)
        let limits = loader.limits
        let sources = (0..<microBatch.pairCount).map { microBatch.source.length($0) }
        let targets = (0..<microBatch.pairCount).map { microBatch.targetInput.length($0) }
        #expect(microBatch.pairCount <= limits.sequences)
        #expect(planned.sourceTokens <= limits.sourceTokens)
        #expect(planned.targetTokens <= limits.targetTokens)
        #expect((sources.max() ?? 0) <= limits.longestSource)
        #expect((targets.max() ?? 0) <= limits.longestTarget)
        #expect(sources.reduce(0) { $0 + $1 * $1 } <= limits.sourceSquares)
        #expect(targets.reduce(0) { $0 + $1 * $1 } <= limits.targetSquares)
        #expect(zip(sources, targets).reduce(0) { $0 + $1.0 * $1.1 } <= limits.crossProducts)
      }
    }
  }

  @Test func pairsAboveTheLimitAreLeftOutAndCounted() throws {
    let setting = try self.setting(pairs: 300)
    let all = try setting.dataset.allPairs(.training)
    for limit in [2, 5, 10] {
      let loader = try setting.loader(limit: limit, window: 2)
      let short = all.filter { $0[0].count + 1 <= limit }
      #expect(loader.pairCount == short.count)
      #expect(loader.excludedCount == all.count - short.count)
      var found: [[[Int32]]] = []
      var position = 0
      while found.count < loader.pairCount {
        let plan = try loader.plan(position: position)
        position = plan.nextPosition
        for planned in plan.microBatches {
          found += try #require(try loader.load(planned).pairs)
        }
      }
      #expect(
        found.prefix(loader.pairCount).sorted { "\($0)" < "\($1)" }
          == short.sorted { "\($0)" < "\($1)" })
    }
    #expect(failure { _ = try setting.loader(budget: 1) }?.exitCode == .badData)
  }

  @Test func memoryHoldsTwoWindowsOfShardsAtMost() throws {
    let setting = try self.setting(pairs: 500, shardPairs: 20)
    #expect(setting.dataset.shardCount(of: .training) > 12)
    let loader = try setting.loader(steps: 4, window: 2)
    var position = 0
    while position < 2 * loader.pairCount {
      let plan = try loader.plan(position: position)
      for planned in plan.microBatches {
        _ = try loader.load(planned)
        #expect(loader.cachedShardCount <= Loader.cachedWindows * 2)
      }
      position = plan.nextPosition
    }
    #expect(loader.cachedShardCount == Loader.cachedWindows * 2)
  }

  @Test(arguments: [true, false])
  func similarLengthsGoTogetherIfAskedAndCompositionChanges(groups: Bool) throws {
    let loader = try self.setting(pairs: 500, shardPairs: 1000)
      .loader(budget: 60, groups: groups, steps: 1)
    var spreads = 0
    var count = 0
    var compositions: [Set<Set<PairReference>>] = [[], []]
    for epoch in 0..<2 {
      var position = epoch * loader.pairCount
      while position < (epoch + 1) * loader.pairCount {
        let plan = try loader.plan(position: position)
        let microBatch = try loader.load(plan.microBatches[0])
        let lengths = (0..<microBatch.pairCount).map { microBatch.source.length($0) }
        spreads += (lengths.max() ?? 0) - (lengths.min() ?? 0)
        count += 1
        compositions[epoch].insert(Set(plan.microBatches[0].pairs))
        position = plan.nextPosition
      }
    }
    // Lengths are 2 to 11; unsorted batches spread over about 8.
    let spread = Double(spreads) / Double(count)
    #expect(groups ? spread < 4 : spread > 6, "\(spread)")
    #expect(compositions[0].intersection(compositions[1]).count < compositions[0].count / 4)
  }

  @Test func seedsShuffleDifferently() throws {
    let setting = try self.setting(pairs: 200)
    let first = try setting.loader(seed: 1).plan(position: 0)
    #expect(try setting.loader(seed: 1).plan(position: 0) == first)
    #expect(try setting.loader(seed: 2).plan(position: 0) != first)
  }

  @Test func aStepMaySpanEpochsOfATinyDataset() throws {
    let setting = try self.setting(pairs: 5, shardPairs: 2)
    let loader = try setting.loader(budget: 1000, steps: 40)
    let plan = try loader.plan(position: 0)
    #expect(plan.microBatches.count == 40)
    #expect(plan.nextPosition > 5 * loader.pairCount)
    var counts: [PairReference: Int] = [:]
    for pair in plan.microBatches.flatMap(\.pairs) { counts[pair, default: 0] += 1 }
    let values = Set(counts.values)
    #expect((values.max() ?? 0) - (values.min() ?? 0) <= 1)
  }

  @Test func fixedPlansKeepTheOrderOfTheSplit() throws {
    let setting = try self.setting()
    let plan = FixedPlan(setting.dataset, .test, tokenBudget: 40)
    var found: [[[Int32]]] = []
    for planned in try plan.microBatches() {
      #expect(planned.position == found.count)
      #expect(planned.sourceTokens <= 40 && planned.targetTokens <= 40)
      found += try #require(try plan.load(planned).pairs)
    }
    #expect(try found == setting.dataset.allPairs(.test))
    #expect(plan.pairCount == found.count)
    let short = FixedPlan(setting.dataset, .test, tokenBudget: 40, maximumLength: 6)
    #expect(short.pairCount == found.filter { $0[0].count + 1 <= 6 }.count)
  }
}
