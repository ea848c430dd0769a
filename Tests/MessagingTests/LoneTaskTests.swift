import Messaging
import Testing

@Suite struct LoneTaskTests {
  @Test(arguments: [
    (["SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": "2"], "Slurm", 3, false, "srun --mpi=pmix"),
    // Slurm's own PMI sets these as well.
    (
      ["SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "PMI_SIZE": "2", "PMI_RANK": "0"],
      "Slurm", 2, true, "srun --mpi=pmix"
    ),
    (
      ["FLUX_JOB_SIZE": "4", "FLUX_TASK_RANK": "0", "PMI_SIZE": "4"], "Flux", 4, true,
      "flux run -o pmi=pmix"
    ),
    (["PMI_SIZE": "2", "PMI_RANK": "1"], "another MPI", 2, false, "OpenMPI's mpirun"),
    (
      ["MV2_COMM_WORLD_SIZE": "2", "MV2_COMM_WORLD_RANK": "0"], "MVAPICH", 2, true,
      "OpenMPI's mpirun"
    ),
  ])
  func tasksThatCannotFindEachOtherAreTold(
    environment: [String: String], launcher: String, count: Int, isFirst: Bool, remedy: String
  ) throws {
    let task = try #require(LoneTask(environment: environment))
    #expect(task.count == count && task.isFirst == isFirst)
    for words in [launcher, "\(count) tasks", remedy] { #expect(task.text.contains(words)) }
  }

  @Test(arguments: [
    [:],
    // A batch script of a job of four, and a step of one task in it.
    ["SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_ID": "7"],
    ["SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"],
    // The shell of salloc is a step by itself.
    ["SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_ID": "4294967290", "SLURM_PROCID": "0"],
    // They do find each other.
    ["SLURM_STEP_NUM_TASKS": "3", "PMIX_RANK": "1"],
    ["SLURM_STEP_NUM_TASKS": "2", "OMPI_COMM_WORLD_SIZE": "4"],
    ["PMI_SIZE": "1", "PMI_RANK": "0"], ["SLURM_STEP_NUM_TASKS": "many"],
  ])
  func oneProcessMayTrainAlone(environment: [String: String]) {
    #expect(LoneTask(environment: environment) == nil)
  }
}
