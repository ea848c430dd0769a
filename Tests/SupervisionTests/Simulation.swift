import Core
import Supervision
import Training

/// One history of faults: everything follows from its seed.
struct Simulation {
  /// After this no fault is added, and the run must come to an end.
  private static let faultSeconds = 90.0
  private static let limitSeconds = 3000.0

  private let seed: UInt64
  private let mutant: Mutant?
  private let hosts: [JobHost]
  private let policy: SupervisorPolicy
  private var world: SimulatedWorld
  private var supervisor: Supervisor?
  private var supervisorNumber = 0
  /// When the present supervisor's clock began.
  private var clockBase = 0.0
  private var suspendedUntil = 0.0
  private var returnsAt = 0.0
  private var verdict: Verdict?
  private var isStopAsked = false
  private var hasOpenLaunch = false
  private var lastIncarnation = 0
  private(set) var eventCount = 0
  /// The first guarantee that was broken.
  private(set) var violation: String?

  init(seed: UInt64, mutant: Mutant? = nil) {
    self.seed = seed
    self.mutant = mutant
    var dice = Dice(seed: seed ^ 0xABCD)
    let count = 1 + dice.below(3)
    let isLocal = count == 1 && dice.chance(0.7)
    hosts = (0..<count).map {
      JobHost(name: isLocal ? JobHost.localName : "node\($0)", slots: 1 + dice.below(2))
    }
    var policy = SupervisorPolicy()
    policy.minimumRanks = dice.chance(0.5) ? 1 : hosts.reduce(0) { $0 + $1.slots }
    policy.patienceSeconds = 60
    policy.seed = seed
    switch mutant {
    case .silenceIsIgnored: policy.livenessSeconds = .infinity
    case .hangIsIgnored:
      policy.stallFloorSeconds = .infinity
      policy.patienceSeconds = .infinity
    case .budgetIsEndless:
      policy.restartBudget = .max
      policy.identicalDeaths = .max
    case .suspensionIsBlamedOnRanks: policy.suspensionSeconds = .infinity
    default: break
    }
    self.policy = policy
    world = SimulatedWorld(seed: seed, hostCount: count, mutant: mutant)
  }

  /// Runs the history to its end. Returns what was broken; nil when nothing was.
  mutating func run() -> String? {
    beginSupervisor()
    while violation == nil, verdict == nil, world.now < Self.limitSeconds {
      if world.now < Self.faultSeconds { fault() } else { heal() }
      world.advance(livingSupervisor: supervisor == nil ? nil : supervisorNumber)
      deliver()
      if supervisor == nil, world.now >= returnsAt { beginSupervisor() }
      if let problem = world.disk.violation { violation = problem }
    }
    if violation == nil { checkEnd() }
    return violation
  }

  // MARK: - Supervisor

  private mutating func beginSupervisor() {
    supervisorNumber += 1
    clockBase = world.now
    hasOpenLaunch = false
    // Before it starts anything a supervisor ends what one that died has left.
    world.unreaped = world.hosts.indices.filter { world.hosts[$0].isCut }
    if mutant != .reapingIsSkipped {
      for job in world.jobs.indices { world.endReachable(job) }
    }
    world.deliveries = []
    supervisor = Supervisor(hosts: hosts, policy: policy)
    take(.begin(savedStep: world.disk.generations.last?.step))
  }

  private mutating func deliver() {
    guard supervisor != nil, world.now >= suspendedUntil else { return }
    // After a pause it may look at the clock before it reads what was said meanwhile.
    if world.now - suspendedUntil < SimulatedWorld.tick, world.dice.chance(0.5) { take(.tick) }
    guard verdict == nil else { return }
    // In the order of their moments, as far as they have come.
    let due = world.deliveries.filter { $0.at <= world.now }.sorted { $0.at < $1.at }
    world.deliveries.removeAll { $0.at <= world.now }
    for delivery in due where verdict == nil { take(delivery.event) }
    if verdict == nil { take(.tick) }
  }

  private mutating func take(_ event: SupervisorEvent) {
    guard supervisor != nil else { return }
    var event = event
    if mutant == .signsOfLaterLaunchesCount, case .heartbeat(var beat) = event,
      let current = world.jobs.last
    {
      beat.incarnation = current.incarnation
      beat.sequence = 1 << 30 + eventCount
      event = .heartbeat(beat)
    }
    if mutant == .zeroIsBelieved, case .exited(.exit(0), nil) = event {
      event = .exited(.exit(0), lastWord: .finished(step: world.targetStep))
    }
    eventCount += 1
    let actions = supervisor?.handle(event, at: world.now - clockBase) ?? []
    for action in actions where verdict == nil { perform(action) }
  }

  private mutating func perform(_ action: SupervisorAction) {
    switch action {
    case .launch(let plan):
      checkNothingIsLeft()
      let incarnation = world.launch(plan, supervisor: supervisorNumber)
      if incarnation <= lastIncarnation { violation = "launch \(incarnation) was started twice" }
      lastIncarnation = incarnation
      take(.launched(incarnation: incarnation))
    case .send(let signal):
      if mutant == .killIsLost, signal == .kill || signal == .terminate { return }
      world.send(signal, supervisor: supervisorNumber)
    case .reap(let number):
      if mutant == .reapingIsSkipped {
        world.deliver(.reaped(number: number, silent: []), after: 0)
      } else {
        world.reap(supervisor: supervisorNumber, number: number)
      }
    case .record(let record): check(record)
    case .finish(let verdict): self.verdict = verdict
    }
  }

  // MARK: - Guarantees

  private mutating func check(_ record: SupervisorRecord) {
    switch record {
    case .launch:
      if hasOpenLaunch { violation = "a launch followed one whose end has no cause" }
      hasOpenLaunch = true
    case .death(let death):
      if mutant == .deathsAreNotRecorded { return }
      hasOpenLaunch = false
      let isOwnEnd = world.crashStep != nil || world.finalCode != nil || isStopAsked
      let isCut = world.hosts.contains { $0.isCut } || death.cause == .hostsMissing
      if !world.isDisturbed, !isOwnEnd, !isCut { violation = "a false alarm: \(death.cause)" }
      checkSilence(death)
    case .verdict, .restart, .recovered, .leftOut, .timeIsUp: break
    }
  }

  /// A rank that gives no sign of life is noticed for that, not for the hang that follows.
  private mutating func checkSilence(_ death: Death) {
    guard death.cause == .stalled, world.now - suspendedUntil > 20,
      let job = world.jobs.first(where: { $0.incarnation == death.incarnation })
    else { return }
    let longest =
      job.ranks.filter { $0.isHeard }.compactMap(\.silentSince).map { world.now - $0 }.max()
      ?? 0
    if longest > 9 {
      violation = "a rank was silent for \(longest) s"
    }
  }

  /// When a launch begins, nothing of an earlier one runs where it could have been ended.
  private mutating func checkNothingIsLeft() {
    for job in world.jobs {
      if job.isLauncherAlive, job.supervisor == supervisorNumber {
        violation = "two mpirun at a time"
      }
      // What came back since the reaping is known to the incarnation alone.
      let isLeft = job.ranks.contains { $0.isAlive && !world.unreaped.contains($0.host) }
      if isLeft {
        violation = "a rank of launch \(job.incarnation) runs on beside the next"
      }
    }
  }

  /// The step it says the run goes back to is on disk: damage is found by who reads it.
  private mutating func checkStanding(_ standing: Standing) {
    let newest = world.disk.generations.last?.step ?? 0
    if standing.savedStep > newest {
      violation = "said that step \(standing.savedStep) is saved, but \(newest) is"
    }
    if standing.step < standing.savedStep { violation = "it saved what it never reached" }
  }

  private mutating func checkEnd() {
    guard let verdict else { return violation = "it never ended" }
    let newest = world.disk.resumeStep
    switch verdict.reason {
    case .finished:
      if newest != world.targetStep { violation = "finished, but step \(newest) is the newest" }
      if world.crashStep != nil || world.finalCode != nil {
        violation = "finished past a step that cannot be computed"
      }
    case .stopped(let standing, _):
      if !isStopAsked { violation = "stopped, and nobody asked" }
      checkStanding(standing)
    case .unsaved(let standing):
      if !isStopAsked { violation = "stopped, and nobody asked" }
      checkStanding(standing)
    case .final(let code):
      if world.finalCode?.code != code { violation = "code \(code) came from nowhere" }
    case .deterministic(let cause, _):
      // Three faults from outside may look like one of the program, but not these.
      let isOutside = [Cause.silent, .hostLost, .launcherSignal(9), .hostsMissing].contains(cause)
      if isOutside { violation = "called deterministic: \(cause)" }
    case .budgetSpent, .launchFailed: break
    case .fenced: violation = "fenced by nobody"
    }
    // Once all hosts answer, what was cut off ends by itself.
    for _ in 0..<120 where world.jobs.contains(where: { $0.ranks.contains { $0.isAlive } }) {
      heal()
      for job in world.jobs.indices {
        for rank in world.jobs[job].ranks.indices {
          world.jobs[job].ranks[rank].isFrozen = false
        }
      }
      world.advance(livingSupervisor: nil)
    }
    if world.jobs.contains(where: { $0.ranks.contains { $0.isAlive } }) {
      violation = "a rank outlived its run"
    }
    if let problem = world.disk.violation { violation = problem }
  }

  // MARK: - Faults

  private mutating func heal() {
    for host in world.hosts.indices {
      world.hosts[host].isCut = false
      world.hosts[host].reachesDisk = true
    }
  }

  /// About one fault in eight seconds.
  private mutating func fault() {
    guard world.dice.chance(SimulatedWorld.tick / 8) else { return }
    let kind = world.dice.below(100)
    let index = world.jobs.lastIndex { $0.isLauncherAlive && $0.end == nil }
    switch kind {
    case ..<45: if let index { faultOfRank(kind, index) }
    case ..<60: cutHost()
    case ..<66: world.disk.damageNewest(before: world.targetStep)
    case ..<76: suspendedUntil = world.now + world.dice.between(1, 100)
    case ..<84: crashSupervisor()
    case ..<86:
      if let index { world.jobs[index].ignoresTerminate = true }
    case ..<92: world.thaw()
    case ..<94:
      if supervisor != nil, world.now >= suspendedUntil { take(.signal(.save)) }
    case ..<96:
      guard supervisor != nil, world.now >= suspendedUntil else { return }
      isStopAsked = true
      let origin: StopOrigin = world.dice.chance(0.7) ? .person : .scheduler
      take(.signal(.stop(origin)))
      if world.dice.chance(0.5) {
        world.deliver(.signal(.stop(.person)), after: world.dice.between(0, 4))
      }
    default:
      let stray = Heartbeat(
        incarnation: lastIncarnation + (world.dice.chance(0.5) ? 1000 : -1),
        rank: world.dice.below(9), sequence: 1 << 20,
        reading: StepBeacon.Reading())
      world.deliver(.heartbeat(stray), after: 0)
    }
  }

  private mutating func faultOfRank(_ kind: Int, _ index: Int) {
    world.isDisturbed = true
    let rank = world.dice.below(world.jobs[index].ranks.count)
    switch kind {
    case ..<20: world.jobs[index].ranks[rank].isAlive = false
    case ..<32:
      world.jobs[index].ranks[rank].isFrozen = true
      // Perhaps in the middle of publishing.
      if rank == 0, world.jobs[index].step > 0 { world.jobs[index].hasCommitInFlight = true }
    case ..<40: world.jobs[index].isHung = true
    case ..<43: world.end(index, .exit(world.anyCode()), after: 0)
    default: world.end(index, .signal(9), after: 0)
    }
  }

  private mutating func cutHost() {
    guard hosts.count > 1 || !hosts[0].isLocal else { return }
    world.isDisturbed = true
    let host = world.dice.below(hosts.count)
    world.hosts[host].isCut = true
    world.hosts[host].reachesDisk = world.dice.chance(0.5)
    world.hosts[host].returnsAt = world.now + world.dice.between(1, 60)
    for job in world.jobs.indices {
      let isFrozen = world.dice.chance(0.5)
      for rank in world.jobs[job].ranks.indices where world.jobs[job].ranks[rank].host == host {
        if isFrozen { world.jobs[job].ranks[rank].isFrozen = true }
        if isFrozen, rank == 0, world.jobs[job].step > 0 {
          world.jobs[job].hasCommitInFlight = true
        }
      }
      // With the keep-alive settings mpirun notices after seven seconds, or not.
      let isHit = world.jobs[job].ranks.contains { $0.host == host }
      if isHit, world.dice.chance(0.5) { world.end(job, .exit(205), after: 7) }
    }
  }

  /// The supervisor is killed: its lifeline ends what it reaches.
  private mutating func crashSupervisor() {
    guard supervisor != nil else { return }
    supervisor = nil
    world.isDisturbed = true
    isStopAsked = false
    returnsAt = world.now + world.dice.between(2, 40)
    for job in world.jobs.indices where world.jobs[job].isLauncherAlive {
      world.end(job, .signal(9), after: world.dice.between(0.1, 1.5))
    }
  }
}
