import Core
import Training

/// What is known of one launch from its signs of life, and what they say is wrong.
package struct JobWatch: Equatable, Sendable {
  struct Rank: Equatable, Sendable {
    /// The last sign of life; nil before the first.
    var heardAt: Double?
    var sequence = -1
    var work = -1
    var activity = RankActivity.starting
  }

  let plan: LaunchPlan
  let incarnation: Int
  private(set) var launchedAt: Double
  private(set) var ranks: [Rank]
  private var unheardCount: Int
  /// The last step any rank has told of.
  private(set) var step: Int?
  private(set) var resumedStep: Int?
  private(set) var savedStep: Int?
  /// When any rank last did anything.
  private var progressAt: Double
  /// When the step last grew.
  private var stepAt: Double?
  /// Whether anything but steps was heard of since then.
  private var isStepMixed = false
  private(set) var leavingSince: Double?
  /// What a rank has said that it leaves with; the first that would mean something to another
  /// launch.
  private(set) var saidCode: ExitCode?
  /// True once rank 0 has said that the run's last step is done and saved.
  private(set) var isFinished = false
  /// How long the longest save and the longest validation of this launch took.
  private(set) var saveSeconds: Double?
  private(set) var evaluationSeconds = 0.0
  /// Since when rank 0 evaluates.
  private var evaluatingSince: Double?
  /// The first rank whose end the launcher has told of, and when.
  var blamed: (rank: Int, end: ProcessEnd, at: Double)?
  /// Whose memory ran out on this machine.
  var memoryRanOut: MemoryLimit.Owner?
  /// Those of which Slurm has said that they were ended for lack of memory, on any host.
  var outOfMemory: Set<Int> = []
  /// The host mpirun has lost, by index.
  var lostHost: Int?

  package static func == (a: JobWatch, b: JobWatch) -> Bool {
    a.incarnation == b.incarnation && a.ranks == b.ranks && a.step == b.step
  }

  init(plan: LaunchPlan, incarnation: Int, at now: Double) {
    self.plan = plan
    self.incarnation = incarnation
    launchedAt = now
    ranks = Array(repeating: Rank(), count: plan.ranks)
    unheardCount = plan.ranks
    progressAt = now
  }

  var isComplete: Bool { unheardCount == 0 }

  /// Takes a sign of life; one of another launch, of no rank of ours or older than the last of its
  /// rank changes nothing. Measured step times go to `times`.
  mutating func hear(
    _ beat: Heartbeat, at now: Double, _ policy: SupervisorPolicy, _ times: inout StepTimes
  ) {
    guard beat.incarnation == incarnation, ranks.indices.contains(beat.rank),
      beat.sequence > ranks[beat.rank].sequence
    else { return }
    if ranks[beat.rank].heardAt == nil { unheardCount -= 1 }
    // Another rank of its host may have said it, a moment later.
    ranks[beat.rank].heardAt = max(ranks[beat.rank].heardAt ?? launchedAt, now - beat.ageSeconds)
    ranks[beat.rank].sequence = beat.sequence
    ranks[beat.rank].activity = beat.reading.activity
    if beat.reading.work > ranks[beat.rank].work {
      ranks[beat.rank].work = beat.reading.work
      progressAt = now
    }
    if beat.reading.activity.isOver { leavingSince = leavingSince ?? now }
    if beat.reading.resumedStep >= 0 {
      resumedStep = beat.reading.resumedStep
      savedStep = max(savedStep ?? 0, beat.reading.resumedStep)
      if step == nil {
        step = beat.reading.resumedStep
        stepAt = now
      }
    }
    if beat.reading.activity == .ended, saidCode?.isFinal != true {
      saidCode = ExitCode(rawValue: Int32(clamping: beat.reading.exitCode)) ?? saidCode
    }
    if beat.rank == 0, beat.reading.activity == .finished { isFinished = true }
    if beat.reading.saveMilliseconds >= 0 {
      saveSeconds = max(saveSeconds ?? 0, Double(beat.reading.saveMilliseconds) / 1000)
    }
    if beat.rank == 0 { noteEvaluation(beat.reading.activity == .evaluating, at: now) }
    if beat.reading.savedStep >= 0 { savedStep = max(savedStep ?? 0, beat.reading.savedStep) }
    let newStep = beat.reading.step
    let isTraining = beat.reading.activity == .training
    if !isTraining { isStepMixed = true }
    guard beat.reading.activity != .starting, newStep > step ?? -1 else { return }
    if let before = step, let since = stepAt, now > since {
      let seconds = (now - since) / Double(newStep - before)
      // The first step of a launch allocates, reads and computes at once.
      let isFirst = before <= resumedStep ?? before
      if !isStepMixed && !isFirst || seconds <= policy.harmlessStepSeconds { times.add(seconds) }
    }
    step = newStep
    stepAt = now
    isStepMixed = !isTraining
    progressAt = now
  }

  private mutating func noteEvaluation(_ isUnderWay: Bool, at now: Double) {
    if let since = evaluatingSince { evaluationSeconds = max(evaluationSeconds, now - since) }
    evaluatingSince = isUnderWay ? evaluatingSince ?? now : nil
  }

  /// Time in which nobody looked does not count against the ranks.
  mutating func forgive(_ seconds: Double) {
    for rank in ranks.indices where ranks[rank].heardAt != nil {
      ranks[rank].heardAt? += seconds
    }
    launchedAt += seconds
    progressAt += seconds
    stepAt? += seconds
    leavingSince? += seconds
    evaluatingSince? += seconds
  }

  /// What is wrong now; nil when nothing is.
  func trouble(
    at now: Double, _ policy: SupervisorPolicy, _ times: StepTimes
  ) -> (cause: Cause, rank: Int?, seconds: Double)? {
    if let since = leavingSince, now - since > policy.leaveSeconds {
      return (.slowEnd, nil, now - since)
    }
    if unheardCount > 0, now - launchedAt > policy.startSeconds {
      return (.startTimeout, ranks.firstIndex { $0.heardAt == nil }, now - launchedAt)
    }
    if let silent = longestSilent(at: now), silent.seconds > policy.livenessSeconds {
      return (.silent, silent.rank, silent.seconds)
    }
    let patience = stallLimit(policy, times)
    if now - progressAt > patience { return (.stalled, nil, now - progressAt) }
    return nil
  }

  /// Seconds since any rank of a host gave a sign of life.
  func silence(ofHost host: Int, at now: Double) -> Double {
    let heard = ranks.indices.filter { plan.host(ofRank: $0) == host }.compactMap {
      ranks[$0].heardAt
    }
    return max(0, now - (heard.max() ?? launchedAt))
  }

  /// Seconds since the named rank's last sign of life, or since anybody's.
  func silence(of rank: Int?, at now: Double) -> Double {
    if let rank, ranks.indices.contains(rank), let heard = ranks[rank].heardAt {
      return max(0, now - heard)
    }
    return max(0, now - (ranks.compactMap(\.heardAt).max() ?? launchedAt))
  }

  private func longestSilent(at now: Double) -> (rank: Int, seconds: Double)? {
    var worst: (rank: Int, seconds: Double)?
    for (index, rank) in ranks.enumerated() {
      // A rank that is through says no more.
      guard let heard = rank.heardAt, !rank.activity.isOver else { continue }
      if now - heard > worst?.seconds ?? 0 { worst = (index, now - heard) }
    }
    return worst
  }

  /// Steps have a measured time; everything else only patience.
  private func stallLimit(_ policy: SupervisorPolicy, _ times: StepTimes) -> Double {
    let areTraining = ranks.allSatisfy { $0.activity == .training }
    // Nor has the first step of a launch.
    guard areTraining, let step, let resumedStep, step > resumedStep,
      let limit = times.stallLimit(policy)
    else { return policy.patienceSeconds }
    return min(limit, policy.patienceSeconds)
  }
}
