import Core
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
    // On other hosts there are no such folders.
    if used.allSatisfy({ $0.0.isLocal }) {
      environment["TMPDIR"] = job.temporaryFolder
      for (name, folder) in OpenMPIVersion.sharedMemory(job) {
        environment["OMPI_MCA_" + name] = folder
      }
    }
    var words = [
      job.launcher.path, "--mpi=pmix", "--ntasks=\(ranks)", "--distribution=arbitrary",
      "--kill-on-bad-exit=1", "--overlap", "--mem=0", "--cpu-bind=none", "--quiet",
      "--job-name=lockstep",
    ]
    if isCrowded { words.append("--overcommit") }
    return (words + job.program, environment, file)
  }
}
