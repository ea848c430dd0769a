import Core
import Foundation

/// How this process came to be.
package enum Launch {
  /// True in a process that OpenMPI's mpirun or Slurm's srun with PMIx started.
  package static var isByMPI: Bool { isByMPI(ProcessInfo.processInfo.environment) }

  static func isByMPI(_ environment: [String: String]) -> Bool {
    environment["OMPI_COMM_WORLD_SIZE"] != nil || environment["PMIX_RANK"] != nil
  }

  /// How many tasks the launcher says it has started, if several.
  static func tasks(_ environment: [String: String]) -> Int? {
    let count = environment["OMPI_COMM_WORLD_SIZE"] ?? environment["SLURM_STEP_NUM_TASKS"]
    return count.flatMap { Int($0) }.flatMap { $0 > 1 ? $0 : nil }
  }

  /// The communicator of this process: MPI's under mpirun, a rank alone otherwise; checked where
  /// any rank asks for that.
  ///
  /// Precondition: called once a process, by the thread that will do all messaging.
  /// Throws: `Failure` (.configuration in one of several tasks that cannot find each other; all
  /// but the first leave the message empty).
  package static func communicator() throws(Failure) -> any Communicator {
    guard isByMPI else {
      if let task = LoneTask(environment: ProcessInfo.processInfo.environment) {
        // A launcher may end the others as soon as one has failed: the first is to be heard.
        if !task.isFirst { sleep(1) }
        throw Failure(.configuration, task.isFirst ? task.text : "")
      }
      return SoloCommunicator()
    }
    allowDescriptors()
    let communicator = try MPICommunicator()
    if communicator.size == 1, let expected = tasks(ProcessInfo.processInfo.environment) {
      throw Failure(
        .configuration,
        "this is one of \(expected) tasks that their launcher started together, but MPI finds it"
          + " alone: the PMIx of the launcher and that of this OpenMPI do not fit")
    }
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
}
