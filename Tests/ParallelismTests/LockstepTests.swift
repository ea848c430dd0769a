import Core
import Messaging
import Optimizers
import Parallelism
import Tensors
import Testing

/// The promise of the product: ranks, nodes and stages are not inputs of a step.
@Suite struct LockstepTests {
  /// Everything a job can see after some steps.
  private struct Result: Sendable {
    var norms: [UInt64] = []
    var weights: [UInt32] = []
    var moments: [[UInt32]] = []

    /// The parts that differ, by name: the numbers themselves would fill the screen.
    func differences(from other: Result) -> [String] {
      let parts = [
        ("norms", norms == other.norms), ("weights", weights == other.weights),
        ("moments", moments == other.moments),
      ]
      return parts.filter { !$0.1 }.map(\.0)
    }
  }

  /// A model of a few sections over a layout of ranks.
  private struct Job: Sendable {
    var sections = [0..<7, 7..<16_400, 16_400..<50_001]
    var lanes = 8
    var nodeSizes: [Int]
    var stages = 1
    var bucketCount = 20_000
    var steps = 3
    var clipNorm = 1.0
    var poison: Poison?

    var parameterCount: Int { sections[sections.count - 1].upperBound }
    var ranks: Int { nodeSizes.reduce(0, +) }
    func stage(of section: Int) -> Int { section * stages / sections.count }
  }

  /// One bad element in a lane of a step.
  private struct Poison: Sendable {
    var step: Int
    var lane: Int
    var value: Float

    /// Whether no update may come of it; clipping makes a large gradient a good one.
    func spoils(_ step: Int, clipNorm: Double) -> Bool {
      step == self.step && (!value.isFinite || clipNorm == 0)
    }
  }

  private static let random = RandomStream(seed: 21, purpose: .synthesis, site: 7)

  /// A number in -1...1 of very different sizes, so that every order of a sum has other bits.
  private static func noise(_ index: Int) -> Float {
    let word = random.block(index)
    let magnitude = Float(sign: .plus, exponent: -Int(word[1] % 12), significand: 1)
    return (Float(word[0]) * 0x1p-31 - 1) * magnitude
  }

  /// The gradient of a lane depends on the weights, as a real one does.
  private static func fill(
    _ gradient: GradientPart, weights: Vector, step: Int, lane: Int
  ) {
    for i in 0..<gradient.vector.count {
      let parameter = gradient.origin + i
      gradient.vector.base[i] =
        noise((step * 64 + lane) * 65_536 + parameter) + weights.base[parameter] * 0.125
    }
  }

  /// One rank's part of a job.
  private static func train(
    _ job: Job, _ communicator: any Communicator
  ) throws -> (result: Result, spans: [Range<Int>]) {
    let rank = communicator.rank
    let replicas = job.ranks / job.stages
    let (replica, stage) = (rank / job.stages, rank % job.stages)
    let assignment = try LaneAssignment(lanes: job.lanes, replicas: replicas)
    let ranksOfStage = (0..<job.stages).map { stage in
      (0..<replicas).map { $0 * job.stages + stage }
    }
    let own = job.sections.indices.filter { job.stage(of: $0) == stage }
    let ownership = OwnershipMap(
      sections: job.sections, stageOfSection: job.sections.indices.map { job.stage(of: $0) },
      ranksOfStage: ranksOfStage, bucketCount: job.bucketCount)
    let parts = own.map { (parameters: job.sections[$0], openLanes: 1 + $0 % 2) }
    let layouts = (0..<replicas).map {
      GradientLayout(lanes: assignment.lanes(of: $0), parts: parts)
    }
    let layout = layouts[replica]
    let gradients = try communicator.shareNodeMemory(count: layout.count, "gradients")
    let leads = communicator.nodeRanks[0] == rank
    let weights = try communicator.shareNodeMemory(
      count: leads ? job.parameterCount : 0, "weights"
    ).vector(of: communicator.nodeRanks[0])
    let exchange = GradientExchange(
      communicator: communicator,
      group: ExchangeGroup(
        ranks: ranksOfStage[stage], nodeOfRank: communicator.nodes.nodeOfRank, replica: replica),
      stage: stage, layouts: layouts, memory: gradients,
      counters: try communicator.shareNodeCounters(count: job.sections.count),
      ownership: ownership, completionOrder: own.reversed())
    let optimizer = ShardedOptimizer(
      communicator: communicator, ownership: ownership,
      // The first section is used by all stages, as a shared embedding is.
      usersOfSection: job.sections.indices.map { section in
        section == 0 ? Array(0..<job.stages) : [job.stage(of: section)]
      }, adam: Adam(weightDecay: 0.01), clipNorm: job.clipNorm)
    if leads { for i in 0..<job.parameterCount { weights.base[i] = noise(i) } }
    try communicator.nodeBarrier()

    let memory = gradients.vector(of: rank)
    var result = Result()
    for step in 1...job.steps {
      try exchange.begin(step: step)
      for lane in layout.parts[0].plan.lanes {
        for part in layout.parts.indices {
          let gradient = layout.gradient(of: lane, part: part, in: memory)
          fill(gradient, weights: weights, step: step, lane: lane)
          if let poison = job.poison, poison.step == step, poison.lane == lane {
            gradient.vector.base[3] = poison.value
          }
          layout.complete(lane, layout.parts[part].parameters, in: memory)
        }
      }
      for section in own.reversed() { try exchange.completed(section: section) }
      try exchange.finish()
      let outcome = try optimizer.step(
        weights: weights, gradient: exchange.gradient, chunkSums: exchange.chunkSums, step: step,
        learningRate: 0.01)
      let isSpoiled = job.poison?.spoils(step, clipNorm: job.clipNorm) ?? false
      #expect(outcome.isUpdated == !isSpoiled)
      if outcome.isUpdated { result.norms.append(outcome.gradientNorm.bitPattern) }
    }
    result.weights = weights.array.map(\.bitPattern)
    for moment in ShardedOptimizer.Moment.allCases {
      result.moments.append(
        optimizer.ownedSpans.flatMap { optimizer.moment(moment, $0).array.map(\.bitPattern) })
    }
    return (result, optimizer.ownedSpans)
  }

  /// The job's outcome, put together from its ranks; weights must agree wherever they are used.
  private func train(_ job: Job) throws -> Result {
    let ranks = try withRanks(job.ranks, nodes: job.nodeSizes) { try Self.train(job, $0) }
    var result = ranks[0].result
    result.weights = Array(repeating: 0, count: job.parameterCount)
    result.moments = result.moments.map { _ in Array(repeating: 0, count: job.parameterCount) }
    for rank in ranks {
      #expect(rank.result.norms == result.norms)
      var used = 0
      for span in rank.spans {
        result.weights.replaceSubrange(span, with: rank.result.weights[span])
        for moment in result.moments.indices {
          result.moments[moment].replaceSubrange(
            span, with: rank.result.moments[moment][used..<used + span.count])
        }
        used += span.count
      }
    }
    for (number, rank) in ranks.enumerated() {
      let stage = number % job.stages
      for (section, range) in job.sections.enumerated()
      where section == 0 || job.stage(of: section) == stage {
        #expect(rank.result.weights[range] == result.weights[range], "rank \(number)")
      }
    }
    return result
  }

  @Test(arguments: [1, 2, 4, 8, 16]) func everyNumberOfReplicasGivesTheBytesOfOne(
    lanes: Int
  ) throws {
    let alone = try train(Job(lanes: lanes, nodeSizes: [1]))
    for replicas in 1...lanes {
      let job = Job(
        lanes: lanes, nodeSizes: [replicas], bucketCount: [1, 20_000, 1 << 20][replicas % 3])
      #expect(try train(job).differences(from: alone) == [], "\(replicas) replicas")
    }
  }

  @Test(arguments: [
    [1, 1], [2, 1], [1, 3], [2, 1, 1], [1, 1, 1, 1], [3, 2], [3, 3, 2], [1, 1, 1, 1, 1, 1, 1, 1],
    [5, 1, 2],
  ])
  func everyLayoutOfNodesGivesTheBytesOfOne(nodeSizes: [Int]) throws {
    let alone = try train(Job(nodeSizes: [1]))
    for bucketCount in [1, 1 << 20] {
      let job = Job(nodeSizes: nodeSizes, bucketCount: bucketCount)
      #expect(try train(job).differences(from: alone) == [], "nodes of \(nodeSizes)")
    }
  }

  @Test(arguments: [([2], 2), ([4], 2), ([2, 2], 2), ([3, 3], 3), ([1, 2, 1], 2), ([6], 3)])
  func stagesGiveTheBytesOfNone(nodeSizes: [Int], stages: Int) throws {
    let alone = try train(Job(nodeSizes: [1]))
    let job = Job(nodeSizes: nodeSizes, stages: stages)
    #expect(try train(job).differences(from: alone) == [], "nodes of \(nodeSizes)")
  }

  /// The oracle can fail: the plain left-to-right sum of the same lanes has other bits.
  @Test func anotherOrderOfTheSumHasOtherBits() {
    let differing = (0..<1_000).filter { i in
      let perLane = (0..<8).map { Self.noise((64 + $0) * 65_536 + i) }
      return recursiveSum(perLane) != perLane.reduce(0, +)
    }
    #expect(differing.count > 100)
  }

  private static let lastLane = 7

  /// The square of 1e20 is no number of 32 bits: the second moment would be infinite for good.
  @Test(arguments: [[1], [2], [1, 1], [2, 1]], [Float.nan, .infinity, 1e20])
  func aBadGradientStopsTheUpdateEverywhere(nodeSizes: [Int], value: Float) throws {
    let clipNorm = value.isFinite ? 0.0 : 1.0
    let before = try train(Job(nodeSizes: [1], steps: 1, clipNorm: clipNorm))
    let after = try train(
      Job(
        nodeSizes: nodeSizes, steps: 2, clipNorm: clipNorm,
        poison: Poison(step: 2, lane: Self.lastLane, value: value)))
    #expect(after.weights == before.weights && after.moments == before.moments)
  }

  @Test func aLargeGradientThatIsClippedIsAnUpdate() throws {
    let result = try train(
      Job(nodeSizes: [2], steps: 2, poison: Poison(step: 2, lane: Self.lastLane, value: 1e20)))
    #expect(result.norms.count == 2)
    for bits in result.moments + [result.weights] {
      #expect(bits.allSatisfy { Float(bitPattern: $0).isFinite })
    }
  }

  /// After one step the first moment is the gradient, scaled.
  @Test func clippingLimitsTheNorm() throws {
    let clipped = try train(Job(nodeSizes: [2], steps: 1, clipNorm: 0.5))
    let whole = try train(Job(nodeSizes: [2], steps: 1, clipNorm: 0))
    #expect(clipped.norms == whole.norms)
    let scale = Float(0.5 / Double(bitPattern: whole.norms[0]))
    #expect(scale < 1)
    let pairs = zip(clipped.moments[0], whole.moments[0])
    #expect(
      pairs.allSatisfy { clipped, whole in
        let expected = Float(bitPattern: whole) * scale
        return abs(Float(bitPattern: clipped) - expected) <= abs(expected) * 1e-6
      })
  }
}
