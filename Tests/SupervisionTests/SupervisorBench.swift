import Core
import Supervision
import Training

/// A supervisor with its clock, and what it wanted since the last look.
struct SupervisorBench {
  var supervisor: Supervisor
  var now = 0.0
  var sequence = 0
  var work = 0
  var reapNumber = 0

  init(
    _ hosts: [JobHost] = [JobHost(name: "localhost", slots: 2)], ranks: Int = .max,
    minimumRanks: Int = 1, patienceSeconds: Double = 900, endsAt: Double? = nil
  ) {
    var policy = SupervisorPolicy()
    policy.ranks = ranks
    policy.endsAt = endsAt
    policy.minimumRanks = minimumRanks
    policy.patienceSeconds = patienceSeconds
    supervisor = Supervisor(hosts: hosts, policy: policy)
  }

  mutating func take(_ event: SupervisorEvent) -> [SupervisorAction] {
    let actions = supervisor.handle(event, at: now)
    for case .reap(let number) in actions { reapNumber = number }
    return actions
  }

  /// The answer to the last question.
  mutating func reaped(without silent: [Int] = []) -> [SupervisorAction] {
    take(.reaped(number: reapNumber, silent: silent.map { SilentHost(host: $0, reason: "gone") }))
  }

  mutating func begin(savedStep: Int? = nil) -> [SupervisorAction] {
    take(.begin(savedStep: savedStep))
  }

  mutating func exit(_ end: ProcessEnd, _ lastWord: LastWord? = nil) -> [SupervisorAction] {
    take(.exited(end, lastWord: lastWord))
  }

  mutating func wait(_ seconds: Double) -> [SupervisorAction] {
    var actions: [SupervisorAction] = []
    let end = now + seconds
    while now < end {
      now = min(end, now + 0.5)
      actions += take(.tick)
    }
    return actions
  }

  mutating func beat(
    _ rank: Int, step: Int, incarnation: Int = 1, saved: Int = -1,
    activity: RankActivity = .training, saveSeconds: Double? = nil, leaving: ExitCode? = nil,
    age: Double = 0, resumed: Int = 0
  ) -> [SupervisorAction] {
    var reading = StepBeacon.Reading()
    sequence += 1
    reading.step = step
    reading.savedStep = saved
    reading.resumedStep = rank == 0 ? resumed : -1
    reading.activity = leaving.map { $0 == .success ? .finished : .ended } ?? activity
    reading.exitCode = leaving.map { Int($0.rawValue) } ?? -1
    reading.work = work
    reading.saveMilliseconds = saveSeconds.map { Int($0 * 1000) } ?? -1
    return take(
      .heartbeat(
        Heartbeat(
          incarnation: incarnation, rank: rank, sequence: sequence, ageSeconds: age,
          reading: reading)))
  }

  /// Launches and lets all ranks do steps for some seconds.
  mutating func train(_ seconds: Double, incarnation: Int = 1, ranks: Int = 2, saved: Int = -1) {
    _ = take(.launched(incarnation: incarnation))
    for step in 0..<Int(seconds * 2) {
      work += 1
      for rank in 0..<ranks {
        _ = beat(rank, step: step, incarnation: incarnation, saved: saved)
      }
      _ = wait(0.5)
    }
  }

  /// Lets time pass until the next launch is wanted.
  mutating func untilLaunch() -> Bool {
    for _ in 0..<200
    where wait(0.5).contains(where: { if case .launch = $0 { true } else { false } }) {
      return true
    }
    return false
  }
}
