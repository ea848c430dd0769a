import Core
import Supervision
import Training

/// Hosts, ranks and mpirun as the supervisor meets them, with every fault it has to live with.
struct SimulatedWorld {
  struct Rank {
    var host: Int
    var isAlive = true
    var isFrozen = false
    /// Since when it can give no sign of life.
    var silentSince: Double?
    var sequence = 0
    /// Whether a sign of life has been on its way.
    var isHeard = false
    /// When a rank without supervisor ends itself.
    var unsupervisedSince: Double?
  }

  struct Job {
    var incarnation: Int
    var supervisor: Int
    var ranks: [Rank]
    var beginsAt: Double
    var step: Int
    var resumedStep: Int
    var savedStep = -1
    var partOfStep = 0.0
    var work = 0
    var isHung = false
    var isLauncherAlive = true
    var ignoresTerminate = false
    var terminateAt: Double?
    /// What mpirun ends with, and when it does.
    var end: (code: ProcessEnd, at: Double)?
    var isAskedToStop = false
    /// A commit a rank was in the middle of when it was frozen.
    var hasCommitInFlight = false
    /// What rank 0 has written about the end.
    var lastWord: LastWord?
    /// What the ranks say that they leave with.
    var leavingCode: ExitCode?
  }

  struct HostState {
    var isCut = false
    var reachesDisk = true
    var returnsAt = 0.0
  }

  /// What is on its way to the supervisor.
  struct Delivery {
    var at: Double
    var event: SupervisorEvent
  }

  let targetStep: Int
  let saveEvery: Int
  let stepSeconds: Double
  /// Every launch dies here, by a program error.
  let crashStep: Int?
  let finalCode: (step: Int, code: ExitCode)?
  var disk: SimulatedDisk
  var hosts: [HostState]
  var jobs: [Job] = []
  var deliveries: [Delivery] = []
  var dice: Dice
  var now = 0.0
  let losesMessages: Bool
  /// Whether anything has gone wrong since the last launch.
  var isDisturbed = false
  /// Hosts that did not answer when the job was ended last.
  var unreaped: [Int] = []
  static let tick = 0.5

  init(seed: UInt64, hostCount: Int, mutant: Mutant?) {
    dice = Dice(seed: seed)
    targetStep = 10 + dice.below(30)
    saveEvery = 2 + dice.below(6)
    stepSeconds = dice.between(0.1, 2)
    let crash = dice.below(targetStep) + 1
    crashStep = dice.chance(0.1) ? crash : nil
    let codes: [ExitCode] = [.badData, .missingInput, .configuration, .diverged, .outOfLockstep]
    let final = (dice.below(targetStep) + 1, codes[dice.below(codes.count)])
    finalCode = dice.chance(0.05) ? final : nil
    losesMessages = dice.chance(0.3)
    disk = SimulatedDisk(mutant: mutant)
    hosts = Array(repeating: HostState(), count: hostCount)
  }

  // MARK: - What the supervisor does

  mutating func launch(_ plan: LaunchPlan, supervisor: Int) -> Int {
    let incarnation = disk.takeIncarnation()
    var ranks: [Rank] = []
    for (host, count) in plan.ranksByHost.enumerated() {
      ranks += Array(repeating: Rank(host: host), count: count)
    }
    let resumed = disk.resumeStep
    var job = Job(
      incarnation: incarnation, supervisor: supervisor, ranks: ranks,
      beginsAt: now + dice.between(0.5, 3), step: resumed, resumedStep: resumed)
    isDisturbed = jobs.contains { $0.ranks.contains { $0.isAlive } }
    for rank in job.ranks.indices where hosts[job.ranks[rank].host].isCut {
      // That host is gone: mpirun gives up, or waits until it is told to.
      job.ranks[rank].isAlive = false
      isDisturbed = true
      if dice.chance(0.7) { job.end = (.exit(1), now + dice.between(0.1, 60)) }
    }
    jobs.append(job)
    return incarnation
  }

  mutating func send(_ signal: JobSignal, supervisor: Int) {
    guard let index = jobs.lastIndex(where: { $0.supervisor == supervisor && $0.isLauncherAlive })
    else { return }
    switch signal {
    case .saveAndStop, .saveAndStopHere: jobs[index].isAskedToStop = true
    case .save: break
    case .terminate:
      if !jobs[index].ignoresTerminate { end(index, .exit(1), after: dice.between(0.1, 2)) }
    case .kill: end(index, .signal(9), after: 0)
    }
  }

  mutating func reap(supervisor: Int, number: Int) {
    for job in jobs.indices where jobs[job].supervisor <= supervisor { endReachable(job) }
    let silent = hosts.indices.filter { hosts[$0].isCut }
    unreaped = silent
    let answer = silent.map { SilentHost(host: $0, reason: "cut off") }
    let seconds = dice.between(0.05, 10)
    let saved = disk.generations.last?.step
    deliver(.found(savedStep: saved, recordedStep: saved ?? 0), after: seconds)
    deliver(.reaped(number: number, silent: answer), after: seconds)
  }

  mutating func deliver(_ event: SupervisorEvent, after seconds: Double) {
    deliveries.append(Delivery(at: now + seconds, event: event))
  }

  /// mpirun will have ended with this; its ranks end with it where it reaches them.
  mutating func end(_ job: Int, _ code: ProcessEnd, after seconds: Double) {
    if let end = jobs[job].end, end.at <= now + seconds { return }
    jobs[job].end = (code, now + seconds)
  }

  mutating func endReachable(_ job: Int) {
    for rank in jobs[job].ranks.indices where !hosts[jobs[job].ranks[rank].host].isCut {
      jobs[job].ranks[rank].isAlive = false
    }
  }

  // MARK: - Time

  /// Lets half a second pass for everything but the supervisor.
  mutating func advance(livingSupervisor: Int?) {
    now += Self.tick
    for host in hosts.indices where hosts[host].isCut && now >= hosts[host].returnsAt {
      hosts[host].isCut = false
      if dice.chance(0.5) { thaw(host: host) }
    }
    for job in jobs.indices { advance(job, livingSupervisor: livingSupervisor) }
    jobs.removeAll { job in
      !job.isLauncherAlive && !job.ranks.contains { $0.isAlive }
    }
  }

  /// Processes that were stopped run on; one was in the middle of publishing.
  mutating func thaw(host only: Int? = nil) {
    for job in jobs.indices {
      for rank in jobs[job].ranks.indices where jobs[job].ranks[rank].isFrozen {
        let host = jobs[job].ranks[rank].host
        guard only == nil || only == host, dice.chance(0.7) else { continue }
        jobs[job].ranks[rank].isFrozen = false
        isDisturbed = true
        guard rank == 0, jobs[job].ranks[0].isAlive, jobs[job].hasCommitInFlight,
          hosts[host].reachesDisk
        else { continue }
        jobs[job].hasCommitInFlight = false
        if disk.publish(step: jobs[job].step, incarnation: jobs[job].incarnation) {
          jobs[job].savedStep = jobs[job].step
        }
      }
    }
  }

  private mutating func advance(_ index: Int, livingSupervisor: Int?) {
    if jobs[index].isLauncherAlive, let end = jobs[index].end, now >= end.at {
      jobs[index].isLauncherAlive = false
      endReachable(index)
      if jobs[index].supervisor == livingSupervisor {
        deliver(.exited(end.code, lastWord: jobs[index].lastWord), after: 0)
      }
    }
    guard jobs[index].ranks.contains(where: { $0.isAlive }) else { return }
    for rank in jobs[index].ranks.indices {
      let state = jobs[index].ranks[rank]
      let isSilent = state.isFrozen || hosts[state.host].isCut
      jobs[index].ranks[rank].silentSince = isSilent ? state.silentSince ?? now : nil
    }
    guard now >= jobs[index].beginsAt else { return }
    if jobs[index].ranks.allSatisfy({ $0.isAlive && !$0.isFrozen }), !jobs[index].isHung,
      areTogether(index)
    {
      compute(index)
    }
    noticeDeadRank(index)
    watchLease(index, livingSupervisor)
    if jobs[index].supervisor == livingSupervisor, jobs[index].isLauncherAlive { beat(index) }
  }

  /// Ranks that cannot reach each other wait in the exchange.
  private func areTogether(_ index: Int) -> Bool {
    let cut = jobs[index].ranks.count { hosts[$0.host].isCut }
    let first = jobs[index].ranks[0].host
    return cut == 0 || jobs[index].ranks.allSatisfy { $0.host == first }
  }

  private mutating func compute(_ index: Int) {
    if jobs[index].step >= targetStep {
      return leave(index, .success, .finished(step: jobs[index].step), after: 0.1)
    }
    jobs[index].partOfStep += Self.tick / stepSeconds
    while jobs[index].partOfStep >= 1, jobs[index].end == nil {
      jobs[index].partOfStep -= 1
      let step = jobs[index].step + 1
      if step == crashStep {
        jobs[index].ranks[jobs[index].ranks.count / 2].isAlive = false
        return end(index, .exit(139), after: 0.05)
      }
      if let finalCode, step == finalCode.step {
        let word: LastWord? = finalCode.code == .diverged ? .diverged(step: step) : nil
        return leave(index, finalCode.code, word, after: 0.05)
      }
      jobs[index].step = step
      jobs[index].work += 1
      let isEnd = step >= targetStep || jobs[index].isAskedToStop
      if isEnd || step % saveEvery == 0 { save(index, isLast: isEnd) }
      if isEnd { return }
    }
  }

  private mutating func save(_ index: Int, isLast: Bool) {
    let step = jobs[index].step
    let unsaved: LastWord? = step < targetStep ? .unsaved(step: step) : nil
    guard hosts[jobs[index].ranks[0].host].reachesDisk, !dice.chance(0.02) else {
      // A disk that fails: training goes on, but an end without its save is no success.
      isDisturbed = true
      if isLast { leave(index, .inputOutput, unsaved, after: 0.1) }
      return
    }
    if disk.publish(step: step, incarnation: jobs[index].incarnation) {
      jobs[index].savedStep = step
    } else if isLast {
      return leave(index, .inputOutput, unsaved, after: 0.1)
    }
    guard isLast else { return }
    let isEnd = step >= targetStep
    leave(
      index, isEnd ? .success : .stoppedResumable,
      isEnd ? .finished(step: step) : .stopped(step: step), after: dice.between(0.05, 0.5))
  }

  /// The ranks are through, and say so; what mpirun makes of it is its own.
  private mutating func leave(
    _ index: Int, _ code: ExitCode, _ word: LastWord?, after seconds: Double
  ) {
    // A last sign of life may be lost or late, and a full disk may swallow the event.
    let isLost = dice.chance(0.1)
    jobs[index].lastWord = isLost ? nil : word
    if isLost { isDisturbed = true }
    jobs[index].leavingCode = code
    beat(index)
    end(index, .exit(dice.chance(0.05) ? anyCode() : code.rawValue), after: seconds)
  }

  /// What an mpirun may end with that has lost sight of its ranks.
  mutating func anyCode() -> Int32 {
    let codes: [Int32] = [0, 0, 0, 1, 65, 74, 75, 78, 79, 80, 137, 205, 213, 255]
    return codes[dice.below(codes.count)]
  }

  /// mpirun notices a dead rank it can hear of, at once.
  private mutating func noticeDeadRank(_ index: Int) {
    guard jobs[index].isLauncherAlive, jobs[index].end == nil,
      let dead = jobs[index].ranks.firstIndex(where: { !$0.isAlive && !hosts[$0.host].isCut })
    else { return }
    // Slurm says it at once and takes its time to end; OpenMPI does both at once.
    let lingers = dice.chance(0.2)
    if lingers || dice.chance(0.5) {
      deliver(.rankEnded(rank: dead, .signal(9)), after: 0.04)
    }
    end(index, .exit(137), after: lingers ? 30 : 0.05)
  }

  /// Ranks whose supervisor is gone, or that somebody has replaced, end themselves.
  private mutating func watchLease(_ index: Int, _ livingSupervisor: Int?) {
    let isOwned = jobs[index].supervisor == livingSupervisor
    for rank in jobs[index].ranks.indices
    where jobs[index].ranks[rank].isAlive && !jobs[index].ranks[rank].isFrozen {
      let host = hosts[jobs[index].ranks[rank].host]
      if host.reachesDisk, jobs[index].incarnation < disk.incarnation, dice.chance(0.4) {
        jobs[index].ranks[rank].isAlive = false
      } else if isOwned && !host.isCut {
        jobs[index].ranks[rank].unsupervisedSince = nil
      } else if let since = jobs[index].ranks[rank].unsupervisedSince {
        if now - since > 20 { jobs[index].ranks[rank].isAlive = false }
      } else {
        jobs[index].ranks[rank].unsupervisedSince = now
      }
    }
  }

  private mutating func beat(_ index: Int) {
    for rank in jobs[index].ranks.indices {
      let state = jobs[index].ranks[rank]
      guard state.isAlive, !state.isFrozen, !hosts[state.host].isCut else { continue }
      jobs[index].ranks[rank].sequence += 1
      if losesMessages, dice.chance(0.05) { continue }
      jobs[index].ranks[rank].isHeard = true
      var reading = StepBeacon.Reading()
      reading.step = jobs[index].step
      reading.work = jobs[index].work
      if let code = jobs[index].leavingCode {
        reading.activity = code == .success ? .finished : .ended
        reading.exitCode = Int(code.rawValue)
      } else {
        reading.activity = .training
      }
      if rank == 0 {
        reading.resumedStep = jobs[index].resumedStep
        reading.savedStep = jobs[index].savedStep
      }
      let beat = Heartbeat(
        incarnation: jobs[index].incarnation, rank: rank, sequence: state.sequence,
        reading: reading)
      let isLate = losesMessages && dice.chance(0.05)
      deliver(.heartbeat(beat), after: isLate ? dice.between(0.5, 2) : 0)
      // Said again much later: a sign of a life that was.
      if losesMessages, dice.chance(0.3) { deliver(.heartbeat(beat), after: dice.between(3, 30)) }
    }
  }
}
