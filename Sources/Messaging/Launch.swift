import Core
import Foundation

/// How this process came to be.
package enum Launch {
  /// True in a process that OpenMPI's mpirun or Slurm's srun with PMIx started.
  package static var isByMPI: Bool {
    let environment = ProcessInfo.processInfo.environment
    return environment["OMPI_COMM_WORLD_SIZE"] != nil || environment["PMIX_RANK"] != nil
  }

  /// The communicator of this process: MPI's under mpirun, a rank alone otherwise; checked where
  /// any rank asks for that.
  ///
  /// Precondition: called once a process, by the thread that will do all messaging.
  package static func communicator() throws(Failure) -> any Communicator {
    guard isByMPI else { return SoloCommunicator() }
    allowDescriptors()
    let communicator = try MPICommunicator()
    // Agreed on: an environment that reached some hosts only must not be a difference of its own.
    let isChecked = try communicator.agree(asksForChecks ? 1 : 0) != 0
    return isChecked ? CheckedCommunicator(communicator) : communicator
  }

  /// Takes all the descriptors the system allows: a connection to each rank of other hosts is more
  /// than a shell's usual 1,024 in a job of so many ranks, and OpenMPI that cannot have one says so
  /// for ever.
  private static func allowDescriptors() {
    let kind = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
    var limit = rlimit()
    guard getrlimit(kind, &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(kind, &limit)
  }

  /// True in debug builds and with `LOCKSTEP_CHECK=1`: ranks compare what they do together.
  package static var asksForChecks: Bool {
    #if DEBUG
      return true
    #else
      return ProcessInfo.processInfo.environment["LOCKSTEP_CHECK"] == "1"
    #endif
  }

  /// This machine's name without asking a name server.
  package static var hostName: String {
    var name = [CChar](repeating: 0, count: 256)
    // The last byte stays zero whatever the length of the name.
    guard gethostname(&name, name.count - 1) == 0 else { return "unknown host" }
    return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
