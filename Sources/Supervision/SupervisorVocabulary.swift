import Core
import Training

/// What the supervisor hears.
package enum SupervisorEvent: Sendable {
  /// The newest checkpoint there is, by its step; nil where there is none.
  case begin(savedStep: Int?)
  /// mpirun runs, as this launch of the run.
  case launched(incarnation: Int)
  case launchFailed(Failure)
  /// Of this job; whether it is of this launch is the supervisor's to check.
  case heartbeat(Heartbeat)
  /// The launcher said how a rank ended.
  case rankEnded(rank: Int, ProcessEnd)
  /// A kernel has ended a process for lack of memory. Without a rank it was this machine's, and
  /// perhaps not a rank at all.
  case memoryRanOut(MemoryLimit.Owner, rank: Int?)
  /// The launcher said that it lost a host, by the name it has for it; mpirun also says which of
  /// its daemons was there.
  case hostLost(name: String, daemon: Int?)
  /// mpirun ended, and rank 0 has left this word in the run directory; nil where it has not.
  case exited(ProcessEnd, lastWord: LastWord?)
  case tick
  case signal(SupervisorRequest)
  /// What the run directory has once nothing of a launch runs: the newest checkpoint, by its step,
  /// and the furthest step that was recorded. Ranks that were ended at once could not tell of both.
  case found(savedStep: Int?, recordedStep: Int)
  /// The answer to `reap` of that number: no process of the job is left on the hosts that could be
  /// asked; the others did not answer.
  case reaped(number: Int, silent: [SilentHost])
  /// Somebody else supervises the run now.
  case fenced
}

/// What a person or a scheduler asks of the supervisor.
package enum SupervisorRequest: Equatable, Sendable {
  /// Save and end; asked again later, end now.
  case stop(StopOrigin)
  /// Save and go on.
  case save
}

/// Who wants a run to stop.
package enum StopOrigin: Equatable, Sendable {
  /// Somebody who does not want it to go on by itself: TERM, Ctrl-C, HUP.
  case person
  /// A scheduler whose time is up: USR1, the end of a job, a signal to the ranks alone.
  case scheduler
}

/// A host that did not answer, by index, and what was heard in the place of an answer.
package struct SilentHost: Equatable, Sendable {
  package var host: Int
  package var reason: String

  package init(host: Int, reason: String) {
    self.host = host
    self.reason = reason
  }
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
  /// To the ranks of this host themselves: the launcher has not passed on the first.
  case saveAndStopHere
}

/// How many ranks each host takes, by host index; 0 where a host is left out.
package struct LaunchPlan: Equatable, Sendable {
  package var ranksByHost: [Int]

  package init(ranksByHost: [Int]) { self.ranksByHost = ranksByHost }

  /// As many ranks as are wanted, host after host; those behind are spare.
  package init(ranks: Int, on hosts: [JobHost], without silent: [SilentHost] = []) {
    var left = ranks
    ranksByHost = hosts.indices.map { host in
      if silent.contains(where: { $0.host == host }) { return 0 }
      let count = min(left, hosts[host].slots)
      left -= count
      return count
    }
  }

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
  /// Rank 0 said that the run's last step is done and saved.
  case finished
  /// Rank 0 said that it saved and ended on request.
  case stopped
  /// Rank 0 said that it ended on request and could not save.
  case unsaved
  /// mpirun ended with a code, a rank's or its own.
  case exit(Int32)
  /// mpirun ended with a code that would mean something, had any rank said so.
  case unexplained(Int32)
  /// mpirun lost the connection to one.
  case hostLost
  /// A rank was ended by a signal.
  case signal(Int32)
  /// A rank was killed by its machine, which had no more memory for it.
  case outOfMemory(MemoryLimit.Owner)
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
    case .finished: "all steps are done"
    case .stopped: "stopped after saving"
    case .unsaved: "stopped, but the last state could not be saved"
    case .exit(79): "rank without a supervisor ended itself"
    case .exit(let code): "exit code \(code)"
    case .unexplained(0): "the launcher ended with 0, but no rank said that the run was at its end"
    case .unexplained(let code): "the launcher ended with \(code), which no rank has explained"
    case .hostLost: "the launcher lost a host"
    case .signal(let number): "killed by \(SignalName.text(number))"
    case .outOfMemory(let owner): "killed by SIGKILL, as \(owner.spentText)"
    case .launcherSignal(let number): "the launcher was killed by \(SignalName.text(number))"
    case .silent: "no sign of life"
    case .stalled: "no step finished in time"
    case .startTimeout: "did not start in time"
    case .slowEnd: "the launcher did not end"
    case .launchFailed(_, let reason): reason
    case .hostsMissing: "too few hosts answer"
    case .stoppedNow: "stopped at once"
    case .fenced: "another supervisor took over"
    }
  }
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
  /// - savedStep: what it goes on from; nil where nothing is known to be saved.
  case restart(afterSeconds: Double, attempt: Int, savedStep: Int?)
  /// The first new step after a death.
  case recovered(incarnation: Int, seconds: Double, resumedStep: Int, stepsRepeated: Int)
  /// These hosts did not answer.
  case leftOut([SilentHost])
  /// The job of the scheduler has so many seconds left: what a step and a save need.
  case timeIsUp(secondsLeft: Double)
  case verdict(Verdict)
}

/// What a run has on disk beside what it had reached.
package struct Standing: Equatable, Sendable {
  /// Of the newest checkpoint; 0 where there is none.
  package var savedStep: Int
  /// The furthest step any rank has told of.
  package var step: Int

  package init(savedStep: Int, step: Int) {
    self.savedStep = savedStep
    self.step = max(step, savedStep)
  }

  package var lostSteps: Int { step - savedStep }
}

/// How it all ended.
package struct Verdict: Equatable, Sendable {
  package enum Reason: Equatable, Sendable {
    /// All steps are done.
    case finished
    /// Somebody asked.
    case stopped(Standing, by: StopOrigin)
    /// Somebody asked, but the last state could not be saved.
    case unsaved(Standing)
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
