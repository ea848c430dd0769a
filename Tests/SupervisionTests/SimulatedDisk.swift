/// The run directory of a simulated run, with the rules `CheckpointStore` keeps.
struct SimulatedDisk {
  struct Generation: Equatable {
    var step: Int
    var incarnation: Int
    var isGood = true
  }

  private(set) var incarnation = 0
  /// Ascending by step.
  private(set) var generations: [Generation] = []
  private(set) var lastPublisher = 0
  /// A broken guarantee, for the harness.
  private(set) var violation: String?
  private var bestGood = 0
  let mutant: Mutant?

  init(mutant: Mutant?) { self.mutant = mutant }

  mutating func takeIncarnation() -> Int {
    if mutant == .incarnationIsNotRaised, incarnation > 0 { return incarnation }
    incarnation += 1
    return incarnation
  }

  /// The step a launch goes on from: of the newest that verifies.
  var resumeStep: Int { generations.last { $0.isGood }?.step ?? 0 }

  /// Publishes unless a later launch has; false when refused.
  mutating func publish(step: Int, incarnation: Int) -> Bool {
    let newest = generations.map(\.incarnation).max() ?? 0
    guard incarnation >= newest || mutant == .publicationIsUnchecked else { return false }
    if incarnation < lastPublisher {
      violation = "launch \(incarnation) published after launch \(lastPublisher)"
    }
    lastPublisher = max(lastPublisher, incarnation)
    generations.removeAll { $0.step == step }
    let place = generations.firstIndex { $0.step > step } ?? generations.count
    generations.insert(Generation(step: step, incarnation: incarnation), at: place)
    retain()
    checkBest()
    return true
  }

  /// Bytes of a generation change by themselves.
  mutating func damageNewest(before target: Int) {
    guard (generations.last?.step ?? 0) < target, let last = generations.indices.last,
      generations.filter(\.isGood).count > 1
    else { return }
    generations[last].isGood = false
    bestGood = resumeStep
  }

  private mutating func retain() {
    let kept = mutant == .oneGenerationIsKept ? 1 : 2
    var (verified, good) = (0, 0)
    for index in generations.indices.reversed() {
      let isGood = generations[index].isGood
      if verified >= kept {
        if good < 2 { violation = "deleted before two newer were verified" }
        generations.remove(at: index)
      } else if isGood || mutant == .damagedCountAsGood {
        verified += 1
      }
      if isGood { good += 1 }
    }
  }

  private mutating func checkBest() {
    if resumeStep < bestGood {
      violation = "the last good step went from \(bestGood) to \(resumeStep)"
    }
    bestGood = max(bestGood, resumeStep)
  }
}

/// A guarantee broken on purpose, to see that the simulation notices.
enum Mutant: CaseIterable {
  // Of the disk.
  case incarnationIsNotRaised, publicationIsUnchecked, oneGenerationIsKept, damagedCountAsGood
  // Of the supervisor, put between it and its world.
  case silenceIsIgnored, hangIsIgnored, reapingIsSkipped, killIsLost, budgetIsEndless
  case zeroIsBelieved
  case signsOfLaterLaunchesCount, suspensionIsBlamedOnRanks, deathsAreNotRecorded
}

/// A fast reproducible stream of random numbers (splitmix64).
struct Dice: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) {
    // A stream is a walk in steps of one constant: neighbouring seeds must begin far apart.
    state = seed &* 0xD6E8_FEB8_6659_FD93 ^ 0x1234_5678_9ABC_DEF1
    state = next()
  }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }
  mutating func chance(_ probability: Double) -> Bool { uniform() < probability }
  mutating func below(_ bound: Int) -> Int { Int(truncatingIfNeeded: next() >> 33) % bound }
  mutating func between(_ low: Double, _ high: Double) -> Double { low + (high - low) * uniform() }
}
