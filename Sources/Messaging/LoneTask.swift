/// One of several tasks that a launcher started together, but without what MPI needs for them to
/// find each other: each would train alone, at a fraction of the speed and into the same run.
package struct LoneTask: Equatable, Sendable {
  /// What started it, and how many.
  package var launcher: String
  package var count: Int
  package var remedy: String
  /// Whether it is the one of them that speaks.
  package var isFirst: Bool

  package var text: String {
    "\(launcher) started \(count) tasks without PMIx, and each would train alone: use \(remedy)"
  }

  private struct Launcher {
    var name: String
    var size: String
    var rank: String
    var remedy: String
  }

  /// In this order: Slurm and Flux may set the variables of PMI, too.
  private static let launchers = [
    // Only a step has this count; SLURM_NTASKS is that of the whole job in its script as well.
    Launcher(
      name: "Slurm", size: "SLURM_STEP_NUM_TASKS", rank: "SLURM_PROCID",
      remedy: "srun --mpi=pmix"),
    Launcher(
      name: "Flux", size: "FLUX_JOB_SIZE", rank: "FLUX_TASK_RANK",
      remedy: "flux run -o pmi=pmix"),
    Launcher(
      name: "MVAPICH", size: "MV2_COMM_WORLD_SIZE", rank: "MV2_COMM_WORLD_RANK",
      remedy: "OpenMPI's mpirun"),
    Launcher(
      name: "the mpirun of another MPI", size: "PMI_SIZE", rank: "PMI_RANK",
      remedy: "OpenMPI's mpirun"),
  ]
  /// Slurm numbers a job's script, its `salloc` shell and the like from here on. Each is one
  /// process, whatever count it has inherited.
  private static let firstReservedStep = 0xffff_fff0

  /// nil in a process that is alone, or that OpenMPI or PMIx started.
  package init?(environment: [String: String]) {
    func number(_ name: String) -> Int? { environment[name].flatMap { Int($0) } }
    guard !Launch.isByMPI(environment) else { return nil }
    let isStep = number("SLURM_STEP_ID") ?? 0 < Self.firstReservedStep
    let found = Self.launchers.first { launcher in
      number(launcher.size) ?? 1 > 1 && (isStep || launcher.name != "Slurm")
    }
    guard let found, let size = number(found.size) else { return nil }
    launcher = found.name
    count = size
    remedy = found.remedy
    isFirst = number(found.rank) ?? 0 == 0
  }
}
