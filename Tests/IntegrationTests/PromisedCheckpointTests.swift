import Core
import Foundation
import Testing

/// `checkpoint.keep_every` and `checkpoint.keep_best` promise checkpoints of certain steps, however
/// rarely or slowly the run saves.
@Suite(.serialized) struct PromisedCheckpointTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func multiplesAreSavedWhereTimeDecidesTheRest(launch: Program.Launch) throws {
    let run = try TinyRun(
      ["checkpoint.every=600s", "checkpoint.keep_every=4", "checkpoint.keep=2"], in: scratch)
    try run.finish(launch)
    #expect(run.savedSteps == [4, 8, 12, 16, 20])
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func measuredStatesAreSavedForTheBestToBeThere(launch: Program.Launch) throws {
    let run = try TinyRun(
      [
        "checkpoint.every=auto", "checkpoint.keep_best=9", "checkpoint.keep=2",
        "evaluation.every=6",
      ], in: scratch)
    try run.finish(launch)
    #expect(run.savedSteps == [6, 12, 18, 20])
  }

  /// A save that is asked for while another is under way is of a later step, unless it is promised.
  @Test(.enabled(if: Program.canTrace, "SKIPPED: needs strace and the right to trace"))
  func onASlowDiskTrainingWaitsForThem() throws {
    let run = try TinyRun(
      ["checkpoint.every=1", "checkpoint.keep_every=4", "checkpoint.keep=2"], in: scratch)
    let slow = [
      "strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e",
      "inject=fsync:delay_exit=50000",
    ]
    let outcome = try Job(slow + run.command(), in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    #expect(Set([4, 8, 12, 16, 20]).isSubset(of: run.savedSteps), "\(run.savedSteps)")
  }
}
