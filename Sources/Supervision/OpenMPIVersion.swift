import Core

/// The version of the OpenMPI an mpirun is of: up to 4 its daemons are ORTE's, from 5 on PRRTE's,
/// with other names for what they are told.
package struct OpenMPIVersion: Equatable, Sendable {
  package let major: Int

  package init(major: Int) { self.major = major }

  package static let oldest = OpenMPIVersion(major: 4)

  /// From `mpirun (Open MPI) 5.0.7`, as `mpirun --version` begins; nil for another MPI's words.
  package init?(_ text: String) {
    guard let match = text.firstMatch(of: #/mpirun \(Open MPI\) ([0-9]{1,4})\./#),
      let major = Int(match.1)
    else { return nil }
    self.major = major
  }

  /// Asks an mpirun.
  ///
  /// Throws: `Failure` (.unavailable) where it does not answer, or is another MPI's.
  package static func of(
    mpirun: String, environment: [String: String]
  ) throws(Failure) -> OpenMPIVersion {
    guard
      let answer = SpawnedProcess.answer(
        [mpirun, "--version"], environment: environment, withinSeconds: 60)
    else { throw Failure(.unavailable, "\(mpirun) --version: no answer within a minute") }
    guard let version = OpenMPIVersion(answer.text) else {
      let said = answer.text.filledLines.first.map(String.init) ?? ""
      throw Failure(
        .unavailable,
        "\(mpirun) --version: expected 'mpirun (Open MPI) 4.1.4' or the like, found '\(said)';"
          + " put the mpirun of the OpenMPI this program was built with first on PATH")
    }
    return version
  }

  private var isPRRTE: Bool { major >= 5 }
}

// The words of an mpirun's command line that depend on its version.
extension OpenMPIVersion {
  /// How a list names a host. PRRTE does not know its own by an address.
  func address(of host: JobHost) -> String {
    isPRRTE && host.isLocal ? JobHost.localName : host.address
  }

  /// Slot by slot: rank numbers then go host after host.
  func placement(isCrowded: Bool) -> [String] {
    let policy = isCrowded && isPRRTE ? ["slot:OVERSUBSCRIBE"] : ["slot"]
    return (isCrowded && !isPRRTE ? ["--oversubscribe"] : [])
      + ["--map-by"] + policy + ["--bind-to", "none"]
  }

  /// Where MPI keeps what ranks of one host share, unless somebody has said it.
  static func sharedMemory(_ job: LaunchLine.Job) -> [(String, String)] {
    guard let folder = job.sharedMemoryFolder else { return [] }
    // 5 takes the first by its name in 4, too.
    return ["btl_vader_backing_directory", "osc_sm_backing_directory"]
      .filter { job.environment["OMPI_MCA_" + $0] == nil }.map { ($0, folder) }
  }

  /// What mpirun's daemons and MPI are told.
  ///
  /// - Parameter marker: a word for the command line of every daemon mpirun starts: what a leftover
  ///   is known by.
  func parameters(
    _ job: LaunchLine.Job, isRemote: Bool, yields: Bool, marker: String?
  ) -> [String] {
    var launcher: [(String, String)] = []
    // A daemon that is cut off is missed at about the time its ranks are.
    let (idle, probe) = job.policy.keepAliveSeconds
    launcher += [
      ("oob_tcp_keepalive_time", "\(idle)"), ("oob_tcp_keepalive_intvl", "\(probe)"),
      ("oob_tcp_keepalive_probes", "2"),
    ]
    if !isPRRTE {
      launcher += [
        ("odls_base_sigkill_timeout", "0"),
        ("orte_startup_timeout", "\(Int(job.policy.startSeconds.rounded(.up)))"),
      ]
    }
    if isRemote, case .shell(let agent) = job.agent {
      launcher.append(
        (isPRRTE ? "plm_ssh_agent" : "plm_rsh_agent", agent.joined(separator: " ")))
    }
    // A daemon on a node that was lost holds its step, and that the processors of all its nodes.
    let isSaid = ["OMPI_MCA_plm_slurm_args", "PRTE_MCA_plm_slurm_args"]
      .contains { job.environment[$0] != nil }
    if isRemote, case .slurm = job.agent, !isSaid {
      launcher.append(("plm_slurm_args", "--overlap --mem=0"))
    }
    if let marker { launcher.append(("lockstep_job", marker)) }
    var library: [(String, String)] = []
    if yields { library.append(("mpi_yield_when_idle", "1")) }
    if !isRemote { library += Self.sharedMemory(job) }
    return launcher.flatMap { [isPRRTE ? "--prtemca" : "--mca", $0.0, $0.1] }
      + library.flatMap { ["--mca", $0.0, $0.1] }
  }
}
