import Foundation
import Testing

extension SlurmTests {
  /// The other lines of `Sources/Guide/Clusters.md` that start something under Slurm.
  struct Lines {
    @Test func ranksThatSrunStartsTrainAndSaveOnUSR1() throws {
      let trial = try SlurmTrial(.srun, nodes: 2)
      let job = try trial.submitWithoutSupervision()
      try trial.waitForStep(of: job)
      try job.cancel("--signal=USR1")
      let facts = try job.waitForEnd()
      #expect(facts["ExitCode"] == "75:0", "\(job.text)")
      let saved = try #require(trial.run.savedSteps.last)
      #expect(try trial.run.lastStep == saved)
      try trial.expectNothingLeft()

      let next = try trial.submitWithoutSupervision()
      #expect(try next.waitForEnd()["JobState"] == "COMPLETED", "\(next.text)")
      try trial.expectUndisturbed()
    }

    @Test func tasksWithoutPMIxAreRefused() throws {
      let cluster = try SlurmCluster.shared
      let line = ["srun", "--nodes=2", "--ntasks=2", ".build/release/lockstep", "train"]
      let run = cluster.share + "/refused"
      let outcome = try cluster.user(line + ["configs/copy.yaml", "--run", run])
      #expect(outcome.exitCode == 78)
      let said = outcome.errorLines.filter { $0.hasPrefix("lockstep: ") }
      #expect(
        said == [
          "lockstep: Slurm started 2 tasks without PMIx, and each would train alone:"
            + " use srun --mpi=pmix"
        ], "\(outcome.error)")
      #expect(!FileManager.default.fileExists(atPath: run))
    }

    @Test func aJobThatGetsNothingOfTheCallersEnvironmentTrains() throws {
      let trial = try SlurmTrial(.srun, nodes: 2)
      let job = try trial.submit(["--export=NONE"])
      #expect(try job.waitForEnd()["JobState"] == "COMPLETED", "\(job.text)")
      try trial.expectNothingLeft()
      try trial.expectUndisturbed()
    }

    @Test func eachTaskOfAnArrayTrainsARunOfItsOwn() throws {
      let cluster = try SlurmCluster.shared
      let scratch = try Scratch(in: cluster.share)
      try cluster.own(scratch.path)
      let job = try SlurmJob(
        ["--array=1-2", "--nodes=1", "--ntasks-per-node=1"],
        [
          "launch/array.sbatch", "configs/copy.yaml", "--run", "\(scratch.path)/peak-%a",
          "data.path=\(cluster.data)", "train.steps=20", "schedule.warmup_steps=5",
        ], log: "\(scratch.path)/job-%a.out", on: cluster)
      defer { try? job.cancel() }
      for (task, peak) in [(1, "0.001"), (2, "0.002")] {
        let run = try TinyRun(name: "peak-\(task)", data: cluster.data, in: scratch)
        let end = try eventually(within: 120, "the end of \(run.path)") {
          usleep(100_000)
          return run.supervisorLines("verdict").last
        }
        #expect(end.contains("\"exit_code\":0"), "\(end)")
        let kept = try String(contentsOfFile: run.path + "/config.yaml", encoding: .utf8)
        #expect(kept.contains("peak: \(peak)\n"), "\(kept)")
      }
    }
  }
}
