import Checkpoints
import Testing

@Suite struct RetentionTests {
  private typealias Candidate = RetentionPolicy.Candidate

  private static func removable(
    _ policy: RetentionPolicy, _ candidates: [Candidate], damaged: Set<Int> = []
  ) -> [Int] {
    policy.removable(candidates) { !damaged.contains($0.step) }
  }

  @Test func eachRuleKeepsItsOwn() {
    let losses = [5.0, 1, 4, 1, 3, 9, nil, 8, 7, 6]
    let candidates = losses.enumerated().map {
      Candidate(step: ($0.offset + 1) * 10, validationLoss: $0.element)
    }
    #expect(
      Self.removable(.init(newest: 3), candidates) == [10, 20, 30, 40, 50, 60, 70])
    #expect(Self.removable(.init(newest: 2, every: 30), candidates) == [10, 20, 40, 50, 70, 80])
    // Of the equal losses at 20 and 40 the later one.
    #expect(
      Self.removable(.init(newest: 2, best: 1), candidates) == [10, 20, 30, 50, 60, 70, 80])
    #expect(Self.removable(.init(newest: 0, best: 3), candidates) == [10, 30, 60, 70, 80])
    #expect(Self.removable(.init(newest: 20), candidates) == [])
  }

  @Test func nothingIsRemovedBeforeTwoNewerVerify() {
    let candidates = (1...6).map { Candidate(step: $0) }
    let policy = RetentionPolicy(newest: 2)
    #expect(Self.removable(policy, candidates, damaged: [6, 4]) == [1, 2])
    #expect(Self.removable(policy, candidates, damaged: [2, 3, 4, 5, 6]) == [])
    #expect(Self.removable(policy, candidates, damaged: Set(1...6)) == [])
  }

  @Test func whatWasOvertakenGoesFirst() {
    let candidates = [
      Candidate(step: 10), Candidate(step: 15), Candidate(step: 20, isSuperseded: true),
      Candidate(step: 30, validationLoss: 0, isSuperseded: true),
    ]
    #expect(Self.removable(.init(newest: 9, every: 10, best: 2), candidates) == [20, 30])
    // But it is better than nothing.
    #expect(Self.removable(.init(newest: 9), candidates, damaged: [10]) == [20])
  }

  /// A run that saves, evaluates, is damaged, restarts and removes at random.
  @Test(arguments: 0..<300 as Range<UInt64>)
  func inAnyHistoryTwoVerifiedStayAndEveryRuleHolds(seed: UInt64) {
    var random = SplitMix(state: seed)
    let policy = RetentionPolicy(
      newest: Int.random(in: 0...4, using: &random),
      every: Bool.random(using: &random) ? Int.random(in: 2...7, using: &random) : nil,
      best: Int.random(in: 0...2, using: &random))
    var candidates: [Candidate] = []
    var damaged: Set<Int> = []
    for step in 1...40 {
      let loss = Bool.random(using: &random) ? Double.random(in: 0...3, using: &random) : nil
      candidates.append(
        Candidate(
          step: step, validationLoss: loss,
          isSuperseded: Int.random(in: 0..<8, using: &random) == 0))
      if Int.random(in: 0..<5, using: &random) == 0 { damaged.insert(step) }
      let soundBefore = candidates.filter { !damaged.contains($0.step) }
      let gone = Set(Self.removable(policy, candidates.shuffled(using: &random), damaged: damaged))
      let kept = candidates.filter { !gone.contains($0.step) }
      let sound = kept.filter { !damaged.contains($0.step) }
      #expect(sound.count >= min(2, soundBefore.count), "seed \(seed), step \(step)")
      let current = candidates.filter { !$0.isSuperseded }
      #expect(current.suffix(max(2, policy.newest)).allSatisfy { !gone.contains($0.step) })
      // What a reader takes first always stays.
      let first = soundBefore.last { !$0.isSuperseded } ?? soundBefore.last
      #expect(first.map { !gone.contains($0.step) } ?? true)
      if let every = policy.every {
        #expect(current.allSatisfy { $0.step % every != 0 || !gone.contains($0.step) })
      }
      let losses = current.compactMap(\.validationLoss).sorted()
      if policy.best > 0, let lowest = losses.first {
        #expect(kept.contains { $0.validationLoss == lowest && !$0.isSuperseded })
      }
      // Once applied there is nothing left to do.
      #expect(Self.removable(policy, kept, damaged: damaged) == [])
      candidates = kept
      damaged.formIntersection(kept.map(\.step))
    }
    #expect(candidates.count <= 40)
  }
}

/// Source: Steele, Lea, Flood, 2014: the generator of java.util.SplittableRandom.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
    return mixed ^ (mixed >> 31)
  }
}

@Suite struct SaveCadenceTests {
  @Test func stepsAreAPureFunctionOfTheStep() {
    let cadence = SaveCadence(.steps(7))
    #expect((1...30).filter { cadence.isDue(step: $0, now: 1e9) } == [7, 14, 21, 28])
  }

  @Test func secondsCountFromTheLastSave() {
    var cadence = SaveCadence(.seconds(60), start: 100)
    #expect(!cadence.isDue(step: 1, now: 159.9))
    #expect(cadence.isDue(step: 1, now: 160))
    cadence.began(now: 170)
    #expect(!cadence.isDue(step: 2, now: 229))
    #expect(cadence.isDue(step: 3, now: 230))
  }

  @Test func theAutomaticIntervalIsYoungsWithinBounds() {
    // 2 C M = 2 x 2 x 86,400 with no failure in no time.
    var cadence = SaveCadence(.automatic)
    cadence.measured(costSeconds: 2, durationSeconds: 5)
    #expect(abs(cadence.automaticInterval(now: 0) - 345_600.0.squareRoot()) < 1e-9)
    // A launch that has lasted for a day: M = 2 x 86,400.
    #expect(abs(cadence.automaticInterval(now: 86_400) - 691_200.0.squareRoot()) < 1e-9)
    #expect(SaveCadence(.automatic).automaticInterval(now: 0) == 30)
    var dear = SaveCadence(.automatic)
    dear.measured(costSeconds: 1e6, durationSeconds: 1)
    #expect(dear.automaticInterval(now: 0) == 3600)
    // A disk slower than the interval gets a rest.
    var slow = SaveCadence(.automatic)
    slow.measured(costSeconds: 0.001, durationSeconds: 4000)
    #expect(slow.automaticInterval(now: 0) == 8000)
  }
}
