import Core
import Foundation

/// The Slurm job that variables name.
package struct SlurmJob: Equatable, Sendable {
  package var id: String
  package var isRunning: Bool
  /// Until its time is up; nil where it has no end that is known.
  package var secondsLeft: Double?

  package init(id: String, isRunning: Bool, secondsLeft: Double?) {
    self.id = id
    self.isRunning = isRunning
    self.secondsLeft = secondsLeft
  }
}

/// What of Slurm this process can use.
package enum Slurm {
  /// Whether `srun` can start ranks that find each other: its PMIx plugin is there.
  package static func hasPMIx(srun: String, environment: [String: String]) -> Bool {
    guard
      let answer = SpawnedProcess.answer(
        [srun, "--mpi=list"], environment: environment, withinSeconds: 10)
    else { return false }
    return answer.text.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
      .contains { $0.hasPrefix("pmix") }
  }

  /// Settings of srun by way of the environment that would change what a step of launch's is: what
  /// it exports (`sbatch --export=NONE` sets the first), how its output is marked and read.
  package static let stepSettings: Set<String> = [
    "SLURM_EXPORT_ENV", "SLURM_LABELIO", "SLURM_STDINMODE", "SLURM_STDOUTMODE", "SLURM_STDERRMODE",
    "SLURM_WORKING_DIR", "SLURM_UNBUFFEREDIO", "SLURM_OPEN_MODE", "SLURM_KILL_BAD_EXIT",
    "SLURM_WAIT", "SLURM_EXACT", "SLURM_EXCLUSIVE", "SLURM_RESV_PORTS",
  ]

  /// What Slurm's commands call the job whose variables this process has; nil where it has none.
  ///
  /// A task of an array is named by the array: the number of the task that was started last is the
  /// array's own, by which Slurm means all tasks.
  package static func name(_ environment: [String: String]) -> String? {
    guard let array = environment["SLURM_ARRAY_JOB_ID"],
      let task = environment["SLURM_ARRAY_TASK_ID"]
    else { return environment["SLURM_JOB_ID"] }
    return "\(array)_\(task)"
  }

  /// The job whose variables this process has; nil where it has none.
  ///
  /// They may be of a job that is over: a shell keeps them. Slurm is asked; where it does not say,
  /// a process on a node of the job is believed.
  package static func job(
    _ environment: [String: String], squeue: String?, now: Date = .now
  ) -> SlurmJob? {
    guard environment["SLURM_JOB_ID"] != nil, let id = name(environment) else { return nil }
    let said = squeue.flatMap { squeue in
      SpawnedProcess.answer(
        [squeue, "--noheader", "--states=all", "--jobs=\(id)", "--format=%T %e"],
        environment: plain(environment), withinSeconds: 20)
    }
    let isNode = environment["SLURMD_NODENAME"].map(HostName.isOwn) ?? false
    let (isRunning, end) = said.flatMap(state) ?? (isNode, nil)
    // Slurm's own answer knows of a limit that was changed since the job began.
    return SlurmJob(
      id: id, isRunning: isRunning,
      secondsLeft: end?.timeIntervalSince(now)
        ?? environment["SLURM_JOB_END_TIME"].flatMap(Double.init).map {
          $0 - now.timeIntervalSince1970
        })
  }

  /// What squeue says of a job; nil where it says nothing that is understood, as when its
  /// controller does not answer.
  private static func state(
    _ answer: (end: ProcessEnd, output: String, text: String)
  ) -> (isRunning: Bool, end: Date?)? {
    // Slurm forgets a job minutes after its end.
    if answer.text.contains("Invalid job id") { return (false, nil) }
    guard answer.end == .exit(0) else { return nil }
    let words = answer.output.split(whereSeparator: \.isWhitespace).map(String.init)
    guard let name = words.first else { return nil }
    return (!statesOfTheEnd.contains(name), words.count > 1 ? Self.end(words[1]) : nil)
  }

  /// squeue(1): the states that a job does not leave any more, and the one before it has nodes.
  private static let statesOfTheEnd: Set<String> = [
    "PENDING", "COMPLETED", "COMPLETING", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL",
    "PREEMPTED", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED", "SPECIAL_EXIT",
    "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
  ]

  /// Without what would change which jobs squeue lists, and how it writes a time.
  private static func plain(_ environment: [String: String]) -> [String: String] {
    var plain = environment.filter { !$0.key.hasPrefix("SQUEUE_") }
    plain["SLURM_TIME_FORMAT"] = "standard"
    return plain
  }

  /// `2026-01-31T12:00:00` in the machine's own time, as Slurm prints it; nil for "NONE" and "N/A".
  package static func end(_ text: String) -> Date? {
    let words = text.trimmingCharacters(in: .whitespacesAndNewlines)
    let style = Date.ISO8601FormatStyle(timeZone: .current).year().month().day()
      .dateTimeSeparator(.standard).time(includingFractionalSeconds: false)
    return try? Date(words, strategy: style)
  }
}
