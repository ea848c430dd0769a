import Core
import Foundation
import Training

/// Decides what happens to a run: a pure state machine from events, each with its moment on a
/// monotonic clock, to actions.
///
/// It keeps two detectors apart: *liveness* (does every rank give signs of life?) and *progress*
/// (are steps finished?). After every end of a launch it first has every process of the job ended,
/// and only then starts the next.
package struct Supervisor: Sendable {
  package enum State: Equatable, Sendable {
    case idle
    /// Hosts are asked whether they answer, and end what they have of the job.
    case probing(since: Double)
    case launching(LaunchPlan)
    /// mpirun runs; whether all ranks have begun is the watch's to know.
    case running(JobWatch)
    /// mpirun was told to end.
    case ending(Death, until: Double, isKilled: Bool)
    /// mpirun is gone; what is left of the job is being ended.
    case reaping(Death, since: Double)
    /// Before the next start.
    case waiting(until: Double)
    case finished(Verdict)
  }

  package internal(set) var state = State.idle
  package let hosts: [JobHost]
  package let policy: SupervisorPolicy
  var now = 0.0
  var actions: [SupervisorAction] = []
  var times = StepTimes()
  var hasLaunched = false
  /// When and by whom the run was asked to stop the last time; a person's word outweighs others.
  var stopAsked: (at: Double, origin: StopOrigin)?
  /// The step of the launch that was told to stop then; nil once it was told again.
  var stopSentStep: Int?
  /// Of the run as a whole; nil until something is known to be saved.
  var savedStep: Int?
  /// The furthest step the newest launch that trained has told of.
  var reachedStep = 0
  /// How long the longest save and the longest validation took.
  var saveSeconds: Double?
  var evaluationSeconds = 0.0
  var ledger = RestartLedger()
  /// The death a launch has not yet made good.
  var unrecovered: (detectedAt: Double, step: Int?)?
  /// So many times was the job to be ended; the last is the question an answer may be to.
  var reapCount = 0
  /// Which hosts did not answer when the last launch was cleared up; used once.
  var answer: (silent: [SilentHost], at: Double)?

  /// Precondition: at least one host.
  package init(hosts: [JobHost], policy: SupervisorPolicy) {
    precondition(!hosts.isEmpty, "a job needs a host")
    self.hosts = hosts
    self.policy = policy
  }

  /// Of the launch that runs or is being ended; nil between launches.
  package var incarnation: Int? {
    switch state {
    case .running(let watch): watch.incarnation
    case .ending(let death, _, _), .reaping(let death, _): death.incarnation
    default: nil
    }
  }

  /// Takes an event and returns what is to be done, in order.
  ///
  /// Precondition: moments do not decrease; events after `finish` change nothing.
  package mutating func handle(_ event: SupervisorEvent, at moment: Double) -> [SupervisorAction] {
    let gap = moment - now
    now = max(now, moment)
    actions.removeAll(keepingCapacity: true)
    if gap > policy.suspensionSeconds, case .running(var watch) = state {
      state = .idle
      watch.forgive(gap)
      state = .running(watch)
    }
    switch event {
    case .begin(let step): if case .idle = state { begin(step) }
    case .launched(let incarnation): launched(incarnation)
    case .launchFailed(let failure): launchFailed(failure)
    case .heartbeat(let beat): hear(beat)
    case .rankEnded(let rank, let end): blame(rank, end)
    case .memoryRanOut(let owner, let rank): noteMemory(owner, rank)
    case .hostLost(let name, let daemon): lose(name, daemon: daemon)
    case .exited(let end, let lastWord): exited(end, lastWord)
    case .tick: tick()
    case .signal(.stop(let origin)): stop(origin)
    case .signal(.save): if case .running(let watch) = state, watch.isComplete { send(.save) }
    case .found(let saved, let recorded):
      note(savedStep: saved)
      reachedStep = max(reachedStep, recorded)
    case .reaped(let number, let silent):
      // A late answer is to a question that was given up: a host may have been lost since.
      guard number == reapCount else { break }
      if case .reaping = state { answer = (silent, now) }
      reaped(silent)
    case .fenced: fenced()
    }
    return actions
  }

  mutating func send(_ signal: JobSignal) { actions.append(.send(signal)) }
  mutating func record(_ record: SupervisorRecord) { actions.append(.record(record)) }

  mutating func askForReaping() {
    reapCount += 1
    actions.append(.reap(number: reapCount))
  }

  mutating func finish(_ verdict: Verdict) {
    state = .finished(verdict)
    record(.verdict(verdict))
    actions.append(.finish(verdict))
  }
}

// MARK: - Starting

extension Supervisor {
  mutating func begin(_ step: Int?) {
    note(savedStep: step)
    if let step { ledger.begin(at: step) }
    prepare()
  }

  mutating func note(savedStep step: Int?) {
    if let step { savedStep = max(savedStep ?? step, step) }
  }

  /// Asks the hosts first, where there is more than this one.
  mutating func prepare() {
    guard hosts.contains(where: { !$0.isLocal }) else {
      return launch(without: [])
    }
    // They have just been asked; to wait for silent ones again would double the time to recover.
    if let answer, now - answer.at <= policy.answerAgeSeconds,
      plan(without: answer.silent).ranks >= policy.minimumRanks
    {
      self.answer = nil
      return leaveOut(answer.silent)
    }
    // A host that was cut off and is back may still have ranks: the question is to end them.
    state = .probing(since: now)
    askForReaping()
  }

  mutating func leaveOut(_ silent: [SilentHost]) {
    if !silent.isEmpty { record(.leftOut(silent)) }
    launch(without: silent)
  }

  func plan(without silent: [SilentHost]) -> LaunchPlan {
    LaunchPlan(ranks: policy.ranks, on: hosts, without: silent)
  }

  mutating func launch(without silent: [SilentHost]) {
    let plan = plan(without: silent)
    guard plan.ranks >= policy.minimumRanks, plan.ranks > 0 else {
      return fail(.hostsMissing, host: silent.first?.host)
    }
    state = .launching(plan)
    actions.append(.launch(plan))
  }

  /// It did not come to a launch.
  mutating func fail(_ cause: Cause, host: Int? = nil) {
    let death = Death(incarnation: 0, cause: cause, host: host, secondsToDetect: 0)
    noteDetection(death)
    conclude(death)
  }

  mutating func launched(_ incarnation: Int) {
    guard case .launching(let plan) = state else {
      // It came after all was decided: nothing may run that nobody watches.
      send(.kill)
      return askForReaping()
    }
    hasLaunched = true
    stopSentStep = nil
    let watch = JobWatch(plan: plan, incarnation: incarnation, at: now)
    record(.launch(incarnation: incarnation, plan))
    state = .running(watch)
    if stopAsked != nil { end(watch, .stoppedNow, .terminate) }
  }

  mutating func launchFailed(_ failure: Failure) {
    guard case .launching = state else { return }
    // Without memory, processes or descriptors: at the first launch a person sees it, later on it
    // is no reason to end a run that has been training for days.
    let passes = failure.exitCode == .unavailable && hasLaunched
    if failure.exitCode == .inputOutput || passes {
      return fail(.launchFailed(failure.exitCode, failure.message))
    }
    finish(Verdict(.launchFailed(failure), exitCode: failure.exitCode))
  }
}

// MARK: - Watching

extension Supervisor {
  mutating func hear(_ beat: Heartbeat) {
    guard case .running(var watch) = state else { return }
    // The one owner of the ranks' array from here to the end, so that nothing is copied.
    state = .idle
    let isKnown = watch.resumedStep != nil
    watch.hear(beat, at: now, policy, &times)
    if let found = watch.resumedStep {
      ledger.begin(at: found)
      // What an earlier launch has lost was told when it ended.
      if !isKnown { reachedStep = found }
    }
    note(savedStep: watch.savedStep)
    if let seconds = watch.saveSeconds { saveSeconds = max(saveSeconds ?? 0, seconds) }
    evaluationSeconds = max(evaluationSeconds, watch.evaluationSeconds)
    reachedStep = max(reachedStep, watch.step ?? 0)
    if let step = watch.step, let resumed = watch.resumedStep, step > resumed {
      noteRecovery(watch, after: resumed)
    }
    state = .running(watch)
    repeatStop(watch)
  }

  /// What was told to stop and goes on has not heard of it.
  private mutating func repeatStop(_ watch: JobWatch) {
    guard let sent = stopSentStep, let step = watch.step, watch.leavingSince == nil,
      step > sent + 2 * times.stepsPerBeat
    else { return }
    stopSentStep = nil
    send(.saveAndStopHere)
  }

  mutating func noteRecovery(_ watch: JobWatch, after resumed: Int) {
    guard let death = unrecovered else { return }
    unrecovered = nil
    record(
      .recovered(
        incarnation: watch.incarnation, seconds: now - death.detectedAt, resumedStep: resumed,
        stepsRepeated: max(0, (death.step ?? resumed) - resumed)))
  }

  mutating func blame(_ rank: Int, _ end: ProcessEnd) {
    guard case .running(var watch) = state, watch.blamed == nil else { return }
    watch.blamed = (rank, end, now)
    state = .running(watch)
  }

  mutating func noteMemory(_ owner: MemoryLimit.Owner, _ rank: Int?) {
    guard case .running(var watch) = state else { return }
    if let rank { watch.outOfMemory.insert(rank) } else { watch.memoryRanOut = owner }
    state = .running(watch)
  }

  /// A host that was named by its address is known by its daemon: mpirun starts one on each other
  /// host of the launch, in their order.
  mutating func lose(_ name: String, daemon: Int?) {
    guard case .running(var watch) = state, watch.lostHost == nil else { return }
    let others = hosts.indices.filter { watch.plan.ranksByHost[$0] > 0 && !hosts[$0].isLocal }
    watch.lostHost =
      hosts.firstIndex { HostName.areOne($0.name, name) }
      ?? daemon.flatMap { others.indices.contains($0 - 1) ? others[$0 - 1] : nil }
    state = .running(watch)
  }

  mutating func tick() {
    stopInTime()
    switch state {
    case .running(let watch):
      if let blamed = watch.blamed, watch.leavingSince == nil,
        now - blamed.at > policy.lingerSeconds
      {
        return end(watch, cause(ofRank: blamed.end, watch), .kill, rank: blamed.rank)
      }
      guard let trouble = watch.trouble(at: now, policy, times) else { return }
      // What is frozen or cut off does not hear SIGTERM; SIGKILL of mpirun ends all it reaches.
      end(watch, trouble.cause, .kill, rank: trouble.rank, seconds: trouble.seconds)
    case .ending(let death, let until, let isKilled):
      guard now >= until else { return }
      if isKilled { return reap(death) }
      send(.kill)
      state = .ending(death, until: now + policy.killSeconds, isKilled: true)
    case .reaping(_, let since):
      guard now - since > policy.reapSeconds else { return }
      reaped(nobodyAnswered(within: policy.reapSeconds))
    case .probing(let since):
      guard now - since > policy.probeSeconds else { return }
      reaped(nobodyAnswered(within: policy.probeSeconds))
    case .waiting(let until): if now >= until { prepare() }
    case .idle, .launching, .finished: return
    }
  }

  func nobodyAnswered(within seconds: Double) -> [SilentHost] {
    hosts.indices.filter { !hosts[$0].isLocal }.map {
      SilentHost(host: $0, reason: "no answer within \(Int(seconds)) s")
    }
  }

  /// Stops by itself while there is time for a step and a save.
  mutating func stopInTime() {
    guard let end = policy.endsAt, stopAsked == nil else { return }
    switch state {
    case .idle, .reaping, .finished, .ending: return
    case .running, .launching:
      let needed = policy.secondsToStop(
        step: times.percentile99, save: saveSeconds, evaluation: evaluationSeconds)
      guard now >= end - needed else { return }
    case .probing, .waiting:
      guard now >= end - policy.leaveMarginSeconds else { return }
    }
    record(.timeIsUp(secondsLeft: max(0, end - now)))
    stop(.scheduler)
  }
}
