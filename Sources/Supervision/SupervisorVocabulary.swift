import Core
import Training

/// What the supervisor hears.
package enum SupervisorEvent: Sendable {
  case begin
  /// mpirun runs, as this launch of the run.
  case launched(incarnation: Int)
  case launchFailed(Failure)
  /// Of this job; whether it is of this launch is the supervisor's to check.
  case heartbeat(Heartbeat)
  /// mpirun said that a rank was ended by a signal.
  case rankEnded(rank: Int, signal: Int32)
  /// This machine's kernel has ended a process, perhaps not one of the job, for lack of memory.
  case memoryRanOut
  /// mpirun said that it lost a host, by the name it has for it.
  case hostLost(name: String)
  /// mpirun ended.
  case exited(ProcessEnd)
  case tick
  case signal(SupervisorRequest)
  /// The answer to `reap` of that number: no process of the job is left on the hosts that could be
  /// asked; the others did not answer.
  case reaped(number: Int, silentHosts: [Int])
  /// Somebody else supervises the run now.
  case fenced
}

/// What a person or a scheduler asks of the supervisor.
package enum SupervisorRequest: Equatable, Sendable {
  /// Save and end; asked again later, end now.
  case stop
  /// Save and go on.
  case save
}

/// How a process ended.
package enum ProcessEnd: Equatable, Hashable, Sendable {
  case exit(Int32)
  case signal(Int32)
}

/// What the supervisor wants done; doing it is the shell's.
package enum SupervisorAction: Equatable, Sendable {
  /// Take the next incarnation and start mpirun with so many ranks on each host; `launched` or
  /// `launchFailed` tells.
  case launch(LaunchPlan)
  /// Send mpirun a signal, which forwards USR1 and USR2 to its ranks.
  case send(JobSignal)
  /// End every process of the job on every host; `reaped` tells which did not answer, under the
  /// same number.
  case reap(number: Int)
  case record(SupervisorRecord)
  /// Nothing is left to do.
  case finish(Verdict)
}

package enum JobSignal: Equatable, Sendable {
  case saveAndStop, save, kill, terminate
}

/// How many ranks each host takes, by host index; 0 where a host is left out.
package struct LaunchPlan: Equatable, Sendable {
  package var ranksByHost: [Int]

  package init(ranksByHost: [Int]) { self.ranksByHost = ranksByHost }

  package var ranks: Int { ranksByHost.reduce(0, +) }

  /// Where a rank is; mpirun fills host after host.
  package func host(ofRank rank: Int) -> Int? {
    var next = 0
    for (host, count) in ranksByHost.enumerated() {
      next += count
      if rank < next { return host }
    }
    return nil
  }
}

/// Why a launch ended.
package enum Cause: Equatable, Hashable, Sendable {
  /// mpirun ended with a code, a rank's or its own.
  case exit(Int32)
  /// A rank was ended by a signal.
  case signal(Int32)
  /// A rank of this machine was killed, which had run out of memory.
  case outOfMemory
  /// mpirun itself was.
  case launcherSignal(Int32)
  /// A rank gave no sign of life.
  case silent
  /// The ranks live, but no step was finished.
  case stalled
  /// Not every rank began.
  case startTimeout
  /// Ranks said they were through, but mpirun did not end.
  case slowEnd
  /// mpirun could not be started; the words are the failure's own.
  case launchFailed(ExitCode, String)
  /// Too few hosts answer.
  case hostsMissing
  /// Somebody asked a second time.
  case stoppedNow
  case fenced

  package var text: String {
    switch self {
    case .exit(79): "rank without a supervisor ended itself"
    case .exit(205): "mpirun lost a host"
    case .exit(let code): "exit code \(code)"
    case .signal(let number): "killed by \(SignalName.text(number))"
    case .outOfMemory: "killed by SIGKILL, as memory ran out"
    case .launcherSignal(let number): "mpirun killed by \(SignalName.text(number))"
    case .silent: "no sign of life"
    case .stalled: "no step finished in time"
    case .startTimeout: "did not start in time"
    case .slowEnd: "mpirun did not end"
    case .launchFailed(_, let reason): reason
    case .hostsMissing: "too few hosts answer"
    case .stoppedNow: "stopped at once"
    case .fenced: "another supervisor took over"
    }
  }
}

package enum SignalName {
  private static let names: [Int32: String] = [
    1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS",
    8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE", 15: "SIGTERM", 24: "SIGXCPU",
    25: "SIGXFSZ", 31: "SIGSYS",
  ]

  package static func text(_ number: Int32) -> String { names[number] ?? "signal \(number)" }
}

/// The end of one launch.
package struct Death: Equatable, Sendable {
  /// 0 where it did not come to a launch.
  package var incarnation: Int
  package var cause: Cause
  /// The rank to blame and its host's index, where known; a host alone is one that was lost.
  package var rank: Int?
  package var host: Int?
  /// The last step that was heard of; nil when none was.
  package var step: Int?
  package var resumedStep: Int?
  /// From the last sign of life of what died to its discovery: at least the time it really took.
  package var secondsToDetect: Double

  package init(
    incarnation: Int, cause: Cause, rank: Int? = nil, host: Int? = nil, step: Int? = nil,
    resumedStep: Int? = nil, secondsToDetect: Double
  ) {
    self.incarnation = incarnation
    self.cause = cause
    self.rank = rank
    self.host = host
    self.step = step
    self.resumedStep = resumedStep
    self.secondsToDetect = secondsToDetect
  }
}

/// What goes into `events.jsonl`.
package enum SupervisorRecord: Equatable, Sendable {
  case launch(incarnation: Int, LaunchPlan)
  case death(Death)
  case restart(afterSeconds: Double, attempt: Int)
  /// The first new step after a death.
  case recovered(incarnation: Int, seconds: Double, resumedStep: Int, stepsRepeated: Int)
  /// These hosts did not answer.
  case leftOut(hosts: [Int])
  case verdict(Verdict)
}

/// How it all ended.
package struct Verdict: Equatable, Sendable {
  package enum Reason: Equatable, Sendable {
    /// All steps are done.
    case finished
    /// Somebody asked.
    case stopped
    /// A rank ended with a code that a restart would only repeat.
    case final(ExitCode)
    /// The same death again and again at one place.
    case deterministic(Cause, times: Int)
    /// Too many restarts without a new checkpoint.
    case budgetSpent(Cause, restarts: Int)
    /// mpirun cannot be started.
    case launchFailed(Failure)
    case fenced
  }

  package var reason: Reason
  package var exitCode: Int32

  package init(_ reason: Reason, exitCode: ExitCode) {
    self.reason = reason
    self.exitCode = exitCode.rawValue
  }
}
