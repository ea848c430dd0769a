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

  package private(set) var state = State.idle
  package let hosts: [JobHost]
  package let policy: SupervisorPolicy
  private var now = 0.0
  private var actions: [SupervisorAction] = []
  private var times = StepTimes()
  private var hasLaunched = false
  /// When somebody asked to stop the last time.
  private var stopAskedAt: Double?
  /// Of the run as a whole; nil until a launch has told what it began with.
  private var savedStep: Int?
  private var ledger = RestartLedger()
  /// The death a launch has not yet made good.
  private var unrecovered: (detectedAt: Double, step: Int?)?
  /// So many times was the job to be ended; the last is the question an answer may be to.
  private var reapCount = 0
  /// Which hosts did not answer when the last launch was cleared up; used once.
  private var answer: (silentHosts: [Int], at: Double)?

  /// Precondition: at least one host.
  package init(hosts: [JobHost], policy: SupervisorPolicy) {
    precondition(!hosts.isEmpty, "a job needs a host")
    self.hosts = hosts
    self.policy = policy
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
    case .begin: if case .idle = state { prepare() }
    case .launched(let incarnation): launched(incarnation)
    case .launchFailed(let failure): launchFailed(failure)
    case .heartbeat(let beat): hear(beat)
    case .rankEnded(let rank, let signal): blame(rank, signal)
    case .memoryRanOut: noteMemory()
    case .hostLost(let name): lose(name)
    case .exited(let end): exited(end)
    case .tick: tick()
    case .signal(.stop): stop()
    case .signal(.save): if case .running(let watch) = state, watch.isComplete { send(.save) }
    case .reaped(let number, let silent):
      // A late answer is to a question that was given up: a host may have been lost since.
      guard number == reapCount else { break }
      if case .reaping = state { answer = (silent, now) }
      reaped(silent)
    case .fenced: fenced()
    }
    return actions
  }

  private mutating func send(_ signal: JobSignal) { actions.append(.send(signal)) }
  private mutating func record(_ record: SupervisorRecord) { actions.append(.record(record)) }

  private mutating func askForReaping() {
    reapCount += 1
    actions.append(.reap(number: reapCount))
  }

  private mutating func finish(_ verdict: Verdict) {
    state = .finished(verdict)
    record(.verdict(verdict))
    actions.append(.finish(verdict))
  }
}

// MARK: - Starting

extension Supervisor {
  /// Asks the hosts first, where there is more than this one.
  private mutating func prepare() {
    guard hosts.contains(where: { !$0.isLocal }) else {
      return launch(without: [])
    }
    // They have just been asked; to wait for silent ones again would double the time to recover.
    if let answer, now - answer.at <= policy.answerAgeSeconds,
      plan(without: answer.silentHosts).ranks >= policy.minimumRanks
    {
      self.answer = nil
      return leaveOut(answer.silentHosts)
    }
    // A host that was cut off and is back may still have ranks: the question is to end them.
    state = .probing(since: now)
    askForReaping()
  }

  private mutating func leaveOut(_ silent: [Int]) {
    if !silent.isEmpty { record(.leftOut(hosts: silent)) }
    launch(without: silent)
  }

  private func plan(without silent: [Int]) -> LaunchPlan {
    LaunchPlan(
      ranksByHost: hosts.indices.map { silent.contains($0) ? 0 : hosts[$0].slots })
  }

  private mutating func launch(without silent: [Int]) {
    let plan = plan(without: silent)
    guard plan.ranks >= policy.minimumRanks, plan.ranks > 0 else {
      return fail(.hostsMissing, host: silent.first)
    }
    state = .launching(plan)
    actions.append(.launch(plan))
  }

  /// It did not come to a launch.
  private mutating func fail(_ cause: Cause, host: Int? = nil) {
    let death = Death(incarnation: 0, cause: cause, host: host, secondsToDetect: 0)
    noteDetection(death)
    conclude(death)
  }

  private mutating func launched(_ incarnation: Int) {
    guard case .launching(let plan) = state else {
      // It came after all was decided: nothing may run that nobody watches.
      send(.kill)
      return askForReaping()
    }
    hasLaunched = true
    let watch = JobWatch(plan: plan, incarnation: incarnation, at: now)
    record(.launch(incarnation: incarnation, plan))
    state = .running(watch)
    if stopAskedAt != nil { end(watch, .stoppedNow, .terminate) }
  }

  private mutating func launchFailed(_ failure: Failure) {
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
  private mutating func hear(_ beat: Heartbeat) {
    guard case .running(var watch) = state else { return }
    // The one owner of the ranks' array from here to the end, so that nothing is copied.
    state = .idle
    watch.hear(beat, at: now, policy, &times)
    if let found = watch.resumedStep { ledger.begin(at: found) }
    if let saved = watch.savedStep { savedStep = max(savedStep ?? saved, saved) }
    if let step = watch.step, let resumed = watch.resumedStep, step > resumed {
      noteRecovery(watch, after: resumed)
    }
    state = .running(watch)
  }

  private mutating func noteRecovery(_ watch: JobWatch, after resumed: Int) {
    guard let death = unrecovered else { return }
    unrecovered = nil
    record(
      .recovered(
        incarnation: watch.incarnation, seconds: now - death.detectedAt, resumedStep: resumed,
        stepsRepeated: max(0, (death.step ?? resumed) - resumed)))
  }

  private mutating func blame(_ rank: Int, _ signal: Int32) {
    guard case .running(var watch) = state, watch.blamed == nil else { return }
    watch.blamed = (rank, signal)
    state = .running(watch)
  }

  private mutating func noteMemory() {
    guard case .running(var watch) = state else { return }
    watch.memoryRanOut = true
    state = .running(watch)
  }

  private mutating func lose(_ name: String) {
    guard case .running(var watch) = state, watch.lostHost == nil else { return }
    watch.lostHost = hosts.firstIndex { HostName.areOne($0.name, name) }
    state = .running(watch)
  }

  private mutating func tick() {
    switch state {
    case .running(let watch):
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
      reaped(hosts.indices.filter { !hosts[$0].isLocal })
    case .probing(let since):
      guard now - since > policy.probeSeconds else { return }
      reaped(hosts.indices.filter { !hosts[$0].isLocal })
    case .waiting(let until): if now >= until { prepare() }
    case .idle, .launching, .finished: return
    }
  }

  /// What a signal that ended a rank means; one that nobody has named may be of this machine.
  private func cause(ofSignal number: Int32, _ watch: JobWatch) -> Cause {
    let host = watch.blamed.flatMap { watch.plan.host(ofRank: $0.rank) }
    let isHere = host.map { hosts[$0].isLocal } ?? true
    return number == SIGKILL && watch.memoryRanOut && isHere ? .outOfMemory : .signal(number)
  }

  private mutating func exited(_ end: ProcessEnd) {
    switch state {
    case .running(let watch):
      let cause: Cause
      switch end {
      case .signal(let number): cause = .launcherSignal(number)
      case .exit(let code) where 129...192 ~= code: cause = self.cause(ofSignal: code - 128, watch)
      case .exit(let code): cause = .exit(code)
      }
      let death = death(of: watch, cause, rank: watch.blamed?.rank)
      let isAsItShould = cause == .exit(0) || cause == .exit(ExitCode.stoppedResumable.rawValue)
      if !isAsItShould { noteDetection(death) }
      // It may have found the last step done.
      if cause == .exit(0) { noteRecovery(watch, after: watch.resumedStep ?? savedStep ?? 0) }
      reap(death)
    case .ending(var death, _, _):
      // It was through at the moment it was given up.
      if end == .exit(0) || end == .exit(ExitCode.stoppedResumable.rawValue),
        case .exit(let code) = end, death.cause != .fenced
      {
        death.cause = .exit(code)
      }
      reap(death)
    default: return
    }
  }
}

// MARK: - Ending

extension Supervisor {
  private mutating func stop() {
    // `timeout` and schedulers send a signal to the process and to its group: one request.
    if let before = stopAskedAt, now - before < policy.sameRequestSeconds { return }
    let isSecond = stopAskedAt != nil
    stopAskedAt = now
    switch state {
    case .running(let watch):
      // A rank that has not begun has no handler yet, and nothing to save.
      if isSecond || !watch.isComplete {
        end(watch, .stoppedNow, .terminate)
      } else {
        send(.saveAndStop)
      }
    case .ending(let death, _, let isKilled):
      guard isSecond, !isKilled else { return }
      send(.kill)
      state = .ending(death, until: now + policy.killSeconds, isKilled: true)
    case .idle, .probing, .waiting: finish(Verdict(.stopped, exitCode: .stoppedResumable))
    case .launching, .reaping, .finished: return
    }
  }

  private mutating func fenced() {
    switch state {
    case .running(let watch): end(watch, .fenced, .kill)
    case .ending(var death, _, _):
      death.cause = .fenced
      send(.kill)
      state = .ending(death, until: now + policy.killSeconds, isKilled: true)
    case .reaping(var death, let since):
      death.cause = .fenced
      state = .reaping(death, since: since)
    case .finished: return
    case .idle, .probing, .launching, .waiting:
      finish(Verdict(.fenced, exitCode: .inputOutput))
    }
  }

  private mutating func end(
    _ watch: JobWatch, _ cause: Cause, _ signal: JobSignal, rank: Int? = nil, seconds: Double? = nil
  ) {
    var death = death(of: watch, cause, rank: rank)
    if let seconds { death.secondsToDetect = seconds }
    send(signal)
    let isKilled = signal == .kill
    let until = now + (isKilled ? policy.killSeconds : policy.terminateSeconds)
    state = .ending(death, until: until, isKilled: isKilled)
    noteDetection(death)
  }

  private func death(of watch: JobWatch, _ cause: Cause, rank: Int?) -> Death {
    let lost = rank == nil ? watch.lostHost : nil
    return Death(
      incarnation: watch.incarnation, cause: cause, rank: rank,
      host: rank.flatMap(watch.plan.host(ofRank:)) ?? lost, step: watch.step,
      resumedStep: watch.resumedStep,
      secondsToDetect: lost.map { watch.silence(ofHost: $0, at: now) }
        ?? watch.silence(of: rank, at: now))
  }

  /// A death is recorded when it is noticed, however long it takes to clear up after it.
  private mutating func noteDetection(_ death: Death) {
    if unrecovered == nil { unrecovered = (now, death.step) }
    record(.death(death))
  }

  /// Ends what is left of the job; every launch comes by here before the next.
  private mutating func reap(_ death: Death) {
    state = .reaping(death, since: now)
    askForReaping()
  }

  private mutating func reaped(_ silent: [Int]) {
    switch state {
    case .reaping(let death, _): conclude(death)
    case .probing: leaveOut(silent)
    default: return
    }
  }

  /// After a launch: the end of it all, or the next one.
  private mutating func conclude(_ death: Death) {
    if let verdict = Self.finalVerdict(death.cause) { return finish(verdict) }
    if stopAskedAt != nil { return finish(Verdict(.stopped, exitCode: .stoppedResumable)) }
    ledger.note(death, savedStep: savedStep, resolution: times.stepsPerBeat)
    if let verdict = ledger.verdict(after: death, policy) { return finish(verdict) }
    let delay = policy.delay(attempt: ledger.failures, draw: ledger.total)
    record(.restart(afterSeconds: delay, attempt: ledger.failures))
    state = .waiting(until: now + delay)
  }

  /// What no restart would change; nil for all others.
  private static func finalVerdict(_ cause: Cause) -> Verdict? {
    switch cause {
    case .exit(0): return Verdict(.finished, exitCode: .success)
    case .exit(let number):
      guard let code = ExitCode(rawValue: number) else { return nil }
      switch code {
      case .stoppedResumable: return Verdict(.stopped, exitCode: code)
      case .usage, .badData, .missingInput, .cannotCreate, .outOfLockstep, .configuration,
        .diverged:
        return Verdict(.final(code), exitCode: code)
      case .success, .different, .unavailable, .internal, .inputOutput, .orphaned: return nil
      }
    case .fenced: return Verdict(.fenced, exitCode: .inputOutput)
    default: return nil
    }
  }
}
