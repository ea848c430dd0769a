import Core
import Foundation
import Training

// How launches end, and what follows.
extension Supervisor {
  /// What a signal that ended a rank means; one that nobody has named may be of this machine.
  func cause(ofSignal number: Int32, _ watch: JobWatch) -> Cause {
    guard number == SIGKILL else { return .signal(number) }
    if let rank = watch.blamed?.rank, watch.outOfMemory.contains(rank) { return .outOfMemory(.job) }
    let host = watch.blamed.flatMap { watch.plan.host(ofRank: $0.rank) }
    let isHere = host.map { hosts[$0].isLocal } ?? true
    return isHere ? watch.memoryRanOut.map(Cause.outOfMemory) ?? .signal(number) : .signal(number)
  }

  /// Why a launch ended. What mpirun returns counts only as far as the ranks' own words bear it
  /// out: some versions end with 0 when they lose a host.
  func cause(of end: ProcessEnd, _ watch: JobWatch, _ lastWord: LastWord?) -> Cause {
    if let lastWord { return cause(of: lastWord) }
    if watch.isFinished { return .finished }
    if let code = watch.saidCode, code.isFinal {
      return code == .stoppedResumable ? .stopped : .exit(code.rawValue)
    }
    if watch.lostHost != nil || end == .exit(Self.lostHostCode) { return .hostLost }
    if case .signal(let number) = end { return .launcherSignal(number) }
    // srun ends with the highest code of all ranks, and those that it ends after the first have
    // 137: what a rank has said, or srun of the first, says more.
    if let code = watch.saidCode, code != .success {
      // A disk that takes no checkpoint takes no event that says so.
      let isLastSave = code == .inputOutput && stopAsked != nil && watch.resumedStep != nil
      return isLastSave ? .unsaved : .exit(code.rawValue)
    }
    switch watch.blamed?.end ?? end {
    case .signal(let number): return cause(ofSignal: number, watch)
    case .exit(let code) where 129...192 ~= code: return cause(ofSignal: code - 128, watch)
    case .exit(let code):
      let means = ExitCode(rawValue: code)?.isFinal ?? false
      return means || code == 0 ? .unexplained(code) : .exit(code)
    }
  }

  private func cause(of lastWord: LastWord) -> Cause {
    switch lastWord {
    case .finished: .finished
    case .stopped: .stopped
    case .unsaved: .unsaved
    case .diverged: .exit(ExitCode.diverged.rawValue)
    }
  }

  func cause(ofRank end: ProcessEnd, _ watch: JobWatch) -> Cause {
    switch end {
    case .exit(let code): .exit(code)
    case .signal(let number): cause(ofSignal: number, watch)
    }
  }

  /// OpenMPI 4's, for the end of a daemon of its own.
  private static let lostHostCode: Int32 = 205

  mutating func note(_ lastWord: LastWord?) {
    switch lastWord {
    case .finished(let step), .stopped(let step):
      note(savedStep: step)
      // The run is where the launch says, whatever an earlier one had reached.
      reachedStep = step
    case .unsaved(let step): reachedStep = max(reachedStep, step)
    case .diverged, nil: return
    }
  }

  mutating func exited(_ end: ProcessEnd, _ lastWord: LastWord?) {
    note(lastWord)
    switch state {
    case .running(let watch):
      let cause = cause(of: end, watch, lastWord)
      let death = death(of: watch, cause, rank: cause.isHeardEnd ? nil : watch.blamed?.rank)
      if !cause.isHeardEnd { noteDetection(death) }
      // It may have found the last step done.
      if cause == .finished { noteRecovery(watch, after: watch.resumedStep ?? savedStep ?? 0) }
      reap(death)
    case .ending(var death, _, _):
      // It was through at the moment it was given up.
      if death.cause != .fenced, let lastWord { death.cause = cause(of: lastWord) }
      reap(death)
    default: return
    }
  }
}

extension Supervisor {
  mutating func stop(_ asked: StopOrigin) {
    // Slurm ends a job whose time is up by TERM, as it ends one that somebody has cancelled.
    let isTimeUp = policy.endsAt.map { now >= $0 - policy.sameRequestSeconds } ?? false
    let origin = isTimeUp ? .scheduler : asked
    let before = stopAsked
    // A scheduler repeats itself, with TERM at the end: only a person who asks again means at once.
    let isSecond = before?.origin == .person && origin == .person
    // `timeout` sends a signal to the process and to its group: one request.
    if let before, isSecond, now - before.at < policy.sameRequestSeconds { return }
    if before?.origin != .person || isSecond { stopAsked = (now, origin) }
    guard before == nil || isSecond else { return }
    switch state {
    case .running(let watch):
      // A rank that has not begun has no handler yet, and nothing to save.
      if isSecond || !watch.isComplete {
        end(watch, .stoppedNow, .terminate)
      } else {
        send(.saveAndStop)
        stopSentStep = watch.step
      }
    case .ending(let death, _, let isKilled):
      guard isSecond, !isKilled else { return }
      send(.kill)
      state = .ending(death, until: now + policy.killSeconds, isKilled: true)
    case .idle, .probing, .waiting: finish(stopped())
    case .launching, .reaping, .finished: return
    }
  }

  /// A stop that nobody asked this process for was one of the ranks: schedulers tell these alone.
  func stopped() -> Verdict {
    Verdict(
      .stopped(standing, by: stopAsked?.origin ?? .scheduler), exitCode: .stoppedResumable)
  }

  private var standing: Standing { Standing(savedStep: savedStep ?? 0, step: reachedStep) }

  mutating func fenced() {
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

  mutating func end(
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

  func death(of watch: JobWatch, _ cause: Cause, rank: Int?) -> Death {
    let lost = rank == nil ? watch.lostHost : nil
    return Death(
      incarnation: watch.incarnation, cause: cause, rank: rank,
      host: rank.flatMap(watch.plan.host(ofRank:)) ?? lost, step: watch.step,
      resumedStep: watch.resumedStep,
      secondsToDetect: lost.map { watch.silence(ofHost: $0, at: now) }
        ?? watch.silence(of: rank, at: now))
  }

  /// A death is recorded when it is noticed, however long it takes to clear up after it.
  mutating func noteDetection(_ death: Death) {
    if unrecovered == nil { unrecovered = (now, death.step) }
    record(.death(death))
  }

  /// Ends what is left of the job; every launch comes by here before the next.
  mutating func reap(_ death: Death) {
    state = .reaping(death, since: now)
    askForReaping()
  }

  mutating func reaped(_ silent: [SilentHost]) {
    switch state {
    case .reaping(let death, _): conclude(death)
    case .probing: leaveOut(silent)
    default: return
    }
  }

  /// After a launch: the end of it all, or the next one.
  mutating func conclude(_ death: Death) {
    if let verdict = finalVerdict(death.cause) { return finish(verdict) }
    if stopAsked != nil { return finish(stopped()) }
    ledger.note(death, savedStep: savedStep, resolution: times.stepsPerBeat)
    if let verdict = ledger.verdict(after: death, policy) { return finish(verdict) }
    let delay = policy.delay(attempt: ledger.failures, draw: ledger.total)
    record(.restart(afterSeconds: delay, attempt: ledger.failures, savedStep: savedStep))
    state = .waiting(until: now + delay)
  }

  /// What no restart would change; nil for all others.
  func finalVerdict(_ cause: Cause) -> Verdict? {
    switch cause {
    case .finished: return Verdict(.finished, exitCode: .success)
    case .stopped: return stopped()
    case .unsaved: return Verdict(.unsaved(standing), exitCode: .inputOutput)
    case .exit(let number):
      guard let code = ExitCode(rawValue: number) else { return nil }
      return code.isFinal ? Verdict(.final(code), exitCode: code) : nil
    case .fenced: return Verdict(.fenced, exitCode: .inputOutput)
    default: return nil
    }
  }
}

extension ExitCode {
  /// True for codes by which a rank ends a launch that no other launch should follow.
  var isFinal: Bool {
    switch self {
    case .stoppedResumable, .usage, .badData, .missingInput, .cannotCreate, .outOfLockstep,
      .configuration, .diverged:
      true
    case .success, .different, .unavailable, .internal, .inputOutput, .orphaned: false
    }
  }
}

extension Cause {
  /// True for an end that rank 0 has told of.
  var isHeardEnd: Bool { [.finished, .stopped, .unsaved].contains(self) }
}
