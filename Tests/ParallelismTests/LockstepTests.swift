import Core
import Messaging
import Optimizers
import Parallelism
import Tensors
import Testing

/// The promise of the product: the number of ranks is not an input of a step.
@Suite(.timeLimit(.minutes(5))) struct LockstepTests {
  /// Everything a rank can see after some steps.
  private struct Result: Sendable {
    var gradient: [UInt32] = []
    var norms: [UInt64] = []
    var scales: [UInt64] = []
    var weights: [UInt32] = []
    var moments: [[UInt32]] = []

    /// The parts that differ, by name: the numbers themselves would fill the screen.
    func differences(from other: Result) -> [String] {
      let parts = [
        ("gradient", gradient == other.gradient), ("norms", norms == other.norms),
        ("scales", scales == other.scales), ("weights", weights == other.weights),
        ("moments", moments == other.moments),
      ]
      return parts.filter { !$0.1 }.map(\.0)
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
  private static func fill(_ gradient: Vector, weights: Vector, step: Int, lane: Int) {
    for i in 0..<gradient.count {
      gradient.base[i] = noise((step * 64 + lane) * 65_536 + i) + weights.base[i] * 0.125
    }
  }

  /// Some steps on some ranks; each rank's view of the outcome.
  private func train(
    count: Int, lanes: Int, replicas: Int, steps: Int, pieceCount: Int, clipNorm: Double = 1
  ) throws -> [Result] {
    try withRanks(replicas) { communicator in
      let assignment = try LaneAssignment(lanes: lanes, replicas: replicas)
      let ownership = OwnershipMap(parameterCount: count, ranks: replicas)
      let accumulator = LaneAccumulator(
        lanes: assignment.lanes(of: communicator.rank), parameterCount: count)
      let reducer = GradientReducer(
        communicator: communicator, assignment: assignment, ownership: ownership,
        pieceCount: pieceCount)
      let optimizer = ShardedOptimizer(
        communicator: communicator, ownership: ownership, adam: Adam(weightDecay: 0.01),
        clipNorm: clipNorm)
      let room = FloatBuffer(count: 2 * count)
      let weights = room.view[0..<count]
      let whole = room.view[count..<2 * count]
      for i in 0..<count { weights.base[i] = Self.noise(i) }
      var result = Result()
      for step in 1...steps {
        for lane in accumulator.lanes {
          Self.fill(accumulator.gradient(for: lane), weights: weights, step: step, lane: lane)
          accumulator.finish(lane: lane)
        }
        let gradient = try reducer.reduce(accumulator)
        whole[optimizer.ownedSpan].copy(from: gradient)
        let outcome = try optimizer.step(
          weights: weights, gradient: gradient, step: step, learningRate: 0.01)
        #expect(outcome.isUpdated)
        result.norms.append(outcome.gradientNorm.bitPattern)
        result.scales.append(outcome.clipScale.bitPattern)
      }
      try communicator.allGatherInPlace(whole, spans: ownership.spans)
      result.gradient = whole.array.map(\.bitPattern)
      result.weights = weights.array.map(\.bitPattern)
      for moment in ShardedOptimizer.Moment.allCases {
        whole[optimizer.ownedSpan].copy(from: optimizer.owned(moment))
        try communicator.allGatherInPlace(whole, spans: ownership.spans)
        result.moments.append(whole.array.map(\.bitPattern))
      }
      return result
    }
  }

  @Test(arguments: [1, 2, 4, 8, 16], [1, 17, 16_384, 50_001])
  func everyNumberOfReplicasGivesTheBytesOfOne(lanes: Int, count: Int) throws {
    let steps = 3
    let alone = try train(count: count, lanes: lanes, replicas: 1, steps: steps, pieceCount: 999)
    for replicas in 1...lanes {
      // Pieces smaller, unaligned, and larger than a span.
      let pieceCount = [7_001, 16_384, 1 << 20][replicas % 3]
      let results = try train(
        count: count, lanes: lanes, replicas: replicas, steps: steps, pieceCount: pieceCount)
      for result in results {
        #expect(result.differences(from: alone[0]) == [], "\(replicas) replicas")
      }
    }
  }

  @Test(arguments: [1, 2, 8, 16]) func theGradientIsTheRecursiveSumOverLanes(lanes: Int) throws {
    let count = 17
    let alone = try train(count: count, lanes: lanes, replicas: 1, steps: 1, pieceCount: 5)[0]
    let start = (0..<count).map(Self.noise)
    for i in 0..<count {
      let perLane = (0..<lanes).map { Self.noise((64 + $0) * 65_536 + i) + start[i] * 0.125 }
      #expect(alone.gradient[i] == recursiveSum(perLane).bitPattern)
    }
  }

  /// The oracle can fail: the plain left-to-right sum of the same lanes has other bits.
  @Test func anotherOrderOfTheSumHasOtherBits() {
    let differing = (0..<1_000).filter { i in
      let perLane = (0..<8).map { Self.noise((64 + $0) * 65_536 + i) }
      return recursiveSum(perLane) != perLane.reduce(0, +)
    }
    #expect(differing.count > 100)
  }

  @Test(arguments: [1, 2, 3]) func aBadGradientStopsTheUpdateEverywhere(replicas: Int) throws {
    let count = 50_001
    let unchanged = try withRanks(replicas) { communicator in
      let ownership = OwnershipMap(parameterCount: count, ranks: replicas)
      let optimizer = ShardedOptimizer(
        communicator: communicator, ownership: ownership, adam: Adam(), clipNorm: 1)
      let room = FloatBuffer(count: 2 * count)
      let weights = room.view[0..<count]
      weights.fill(2)
      let gradient = room.view[count..<2 * count][optimizer.ownedSpan]
      gradient.fill(1)
      // One element of one rank.
      if communicator.rank == replicas - 1 { gradient.base[gradient.count - 1] = .nan }
      let outcome = try optimizer.step(
        weights: weights, gradient: gradient, step: 1, learningRate: 0.1)
      return !outcome.isUpdated && !outcome.gradientNorm.isFinite
        && weights.array.allSatisfy { $0 == 2 }
        && optimizer.owned(.first).array.allSatisfy { $0 == 0 }
        && optimizer.owned(.second).array.allSatisfy { $0 == 0 }
    }
    #expect(unchanged == Array(repeating: true, count: replicas))
  }

  @Test func clippingLimitsTheNorm() throws {
    let outcome = try withRanks(2) { communicator in
      let optimizer = ShardedOptimizer(
        communicator: communicator, ownership: OwnershipMap(parameterCount: 40_000, ranks: 2),
        adam: Adam(), clipNorm: 2)
      let room = FloatBuffer(count: 80_000)
      room.view.fill(0.25)
      return try optimizer.step(
        weights: room.view[0..<40_000], gradient: room.view[40_000..<80_000][optimizer.ownedSpan],
        step: 1, learningRate: 0.1)
    }
    #expect(outcome.map(\.gradientNorm) == [50, 50])
    #expect(outcome.map(\.clipScale) == [0.04, 0.04])
  }
}
