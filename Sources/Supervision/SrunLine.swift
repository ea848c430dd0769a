import Core
import Foundation
import Training

/// Slurm as the launcher: the ranks of a launch are one step of the job, started with PMIx.
///
/// Slurm then ends them with the job, inside its limits, and needs no login on any node; a signal
/// to the job reaches every rank.
extension LaunchLine {
  static func step(
    _ job: Job, used: [(JobHost, Int)], isCrowded: Bool, yields: Bool, _ launch: SupervisedLaunch?
  ) -> (arguments: [String], environment: [String: String], file: File) {
    let ranks = used.reduce(0) { $0 + $1.1 }
    // A line a rank, in order: the only way to give hosts unequal counts.
    let file = File(
      path: job.temporaryFolder + "/hosts",
      text: used.map { String(repeating: "\($0.0.name)\n", count: $0.1) }.joined())
    var environment = common(job, launch)
    environment["SLURM_HOSTFILE"] = file.path
    if yields { environment["OMPI_MCA_mpi_yield_when_idle"] = "1" }
    var words = [
      job.launcher.path, "--mpi=pmix", "--ntasks=\(ranks)", "--distribution=arbitrary",
      "--kill-on-bad-exit=1", "--overlap", "--mem=0", "--cpu-bind=none", "--quiet",
      "--job-name=lockstep",
    ]
    if isCrowded { words.append("--overcommit") }
    return (words + job.program, environment, file)
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

  /// Seconds from now to the end of this process's job; nil where it has none that is known.
  package static func secondsLeft(
    _ environment: [String: String], squeue: String?, now: Date = .now
  ) -> Double? {
    if let end = environment["SLURM_JOB_END_TIME"].flatMap(Double.init) {
      return end - now.timeIntervalSince1970
    }
    guard let squeue, let job = environment["SLURM_JOB_ID"],
      let answer = SpawnedProcess.answer(
        [squeue, "--noheader", "--jobs=\(job)", "--format=%e"], environment: environment,
        withinSeconds: 10)
    else { return nil }
    return end(answer.text).map { $0.timeIntervalSince(now) }
  }

  /// `2026-01-31T12:00:00` in the machine's own time, as Slurm prints it; nil for "NONE" and "N/A".
  package static func end(_ text: String) -> Date? {
    let words = text.trimmingCharacters(in: .whitespacesAndNewlines)
    let style = Date.ISO8601FormatStyle(timeZone: .current).year().month().day()
      .dateTimeSeparator(.standard).time(includingFractionalSeconds: false)
    return try? Date(words, strategy: style)
  }
}
