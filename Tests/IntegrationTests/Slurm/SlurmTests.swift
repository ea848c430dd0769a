import Core
import Foundation
import Testing

/// Under real Slurm a job that ends in any way saves what can be saved, says what is true of it,
/// and the run comes to the bytes of an undisturbed one.
///
/// `launch/test --cluster` runs these, `launch/test --all` `SlurmMatrixTests` as well.
@Suite(
  .serialized,
  .enabled(if: !SlurmCluster.wanted.isEmpty, "slurm: only with launch/test --cluster or --all"),
  .enabled(
    if: SlurmCluster.wanted.isEmpty || SlurmCluster.problem == nil, "slurm: none here, see above"))
struct SlurmTests {
  @Test func userSignalSavesAndTheJobIsQueuedAgain() throws {
    let trial = try SlurmTrial(.srun, nodes: 2)
    let job = try trial.submit()
    try trial.waitForStep(of: job)
    try job.cancel("--signal=USR1", "--batch")
    let facts = try job.wait(for: ["COMPLETED", "FAILED", "CANCELLED"])
    #expect(facts["JobState"] == "COMPLETED")
    #expect(facts["Restarts"] == "1")
    let ends = try SlurmEnd.all(of: trial.run)
    #expect(ends.map(\.code) == [75, 0])
    #expect(ends.first.map { $0.savedStep ?? 0 >= SlurmTrial.disturbedStep } == true)
    try trial.expectTruth()
    try trial.expectNothingLeft()
    try trial.expectUndisturbed()
  }

  @Test(arguments: SlurmTrial.Launcher.allCases)
  func cancelledTheRunIsSavedAndNothingIsLeft(launcher: SlurmTrial.Launcher) throws {
    let trial = try SlurmTrial(launcher, nodes: 2)
    let job = try trial.submit()
    try trial.waitForStep(of: job)
    try job.cancel()
    let facts = try job.waitForEnd()
    #expect(facts["JobState"] == "CANCELLED")
    #expect(facts["Restarts"] == "0")
    try trial.expectNothingLeft()
    let end = try #require(try SlurmEnd.all(of: trial.run).last)
    #expect(end.code == 75)
    #expect(job.text.contains(end.reason))
    if launcher == .srun { #expect(end.reason.hasPrefix("stopped; step")) }
    // The same command goes on, as the message says.
    #expect(try trial.submit().waitForEnd()["JobState"] == "COMPLETED")
    try trial.expectTruth()
    try trial.expectUndisturbed()
  }

  @Test func aNodeThatIsCutOffIsReplacedByASpareOne() throws {
    let trial = try SlurmTrial(.srun, nodes: 2)
    let job = try trial.submit(["--no-kill"], spare: 1)
    try trial.waitForStep(of: job)
    let lost = try trial.lastRank().node
    try trial.cluster.control("cut", String(lost))
    let facts = try job.waitForEnd()
    #expect(facts["JobState"] == "COMPLETED")
    #expect(facts["Restarts"] == "0")
    #expect(job.text.contains("n\(lost)"), "\(job.text)")
    let launches = trial.run.supervisorLines("launch")
    #expect(launches.count == 2 && launches.allSatisfy { $0.contains("\"ranks\":2") })
    #expect(launches.last?.contains("\"n\(lost):") == false)
    try trial.expectTruth()
    try trial.expectUndisturbed()
  }
}
