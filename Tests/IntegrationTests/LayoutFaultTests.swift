import Core
import Foundation
import Testing

/// A rank that fails or does something else ends the job, whatever it holds, and says why.
@Suite(.serialized) struct LayoutFaultTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func expectNothingLeft() throws {
    try eventually(within: 10, "all ranks gone") { scratch.processes.isEmpty ? true : nil }
  }

  /// One stage's shards break while it trains: only it can know.
  @Test(arguments: [0, 1, 2]) func aStageEndsTheJobWithItsOwnError(stage: Int) throws {
    let layout = Layout(stages: 3)
    let data = scratch.path + "/data"
    let prepared = try scratch.run([
      "prepare", "--preset", "copy", "--out", data, "--shard-pairs", "50",
    ])
    try #require(prepared.exitCode == 0, "\(prepared.error)")
    let own = scratch.path + "/own"
    try FileManager.default.copyItem(atPath: data, toPath: own)
    let run = try TinyRun(
      TinyRun.cuttable + layout.overrides, steps: 10_000, data: data, in: scratch)
    let job = try Job(
      run.command(byRank: (0..<3).map { $0 == stage ? ["data.path=\(own)"] : [] }), in: scratch)
    try run.waitForStep(1, of: job)
    for file in try FileManager.default.contentsOfDirectory(atPath: own)
    where file.hasPrefix("train-") {
      try FileSystem.remove("\(own)/\(file)")
    }
    let outcome = try job.outcome(deadlineSeconds: 60)
    #expect(outcome.exitCode == ExitCode.missingInput.rawValue, "\(outcome.error)")
    #expect(
      outcome.errorLines.contains { $0.hasPrefix("lockstep: rank \(stage): \(own)/train-") },
      "\(outcome.error)")
    try expectNothingLeft()
  }

  /// It was whole when the run began: every reading looks again.
  @Test func aByteThatFlipsUnderTheRunEndsIt() throws {
    let data = scratch.path + "/data"
    let prepared = try scratch.run([
      "prepare", "--preset", "copy", "--out", data, "--shard-pairs", "50",
    ])
    try #require(prepared.exitCode == 0, "\(prepared.error)")
    let run = try TinyRun(steps: 100_000, data: data, in: scratch)
    let job = try run.start(.mpirun(2))
    try run.waitForStep(1, of: job)
    let shard = try FileHandle(forUpdating: URL(fileURLWithPath: data + "/train-00003.h5"))
    defer { try? shard.close() }
    let middle = try shard.seekToEnd() / 2
    try shard.seek(toOffset: middle)
    let byte = try #require(try shard.read(upToCount: 1)?.first)
    try shard.seek(toOffset: middle)
    try shard.write(contentsOf: [byte ^ 1])
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.badData.rawValue, "\(outcome.error)")
    let sentence = ": \(data)/train-00003.h5: expected the shard with XXH3"
    #expect(
      outcome.errorLines.contains { $0.hasPrefix("lockstep: rank ") && $0.contains(sentence) },
      "\(outcome.error)")
    try expectNothingLeft()
  }

  @Test(arguments: [
    (Layout(stages: 3), 0), (Layout(stages: 3), 1), (Layout(replicas: 2, stages: 2), 3),
  ])
  func aKilledStageEndsTheJob(layout: Layout, victim: Int) throws {
    let run = try TinyRun(TinyRun.cuttable + layout.overrides, steps: 10_000, in: scratch)
    let job = try run.start(layout.launch)
    try run.waitForStep(3, of: job)
    // mpirun starts ranks in order.
    let ranks = scratch.ranks.sorted()
    try #require(ranks.count == layout.ranks)
    kill(ranks[victim], SIGKILL)
    let outcome = try job.outcome(deadlineSeconds: 60)
    #expect(outcome.exitCode != 0)
    #expect(outcome.exitCode != ExitCode.stoppedResumable.rawValue)
    try expectNothingLeft()
  }

  /// Where ranks check each other, one that does something else is named, with both calls.
  @Test func aRankOutOfStepIsNamed() throws {
    let layout = Layout(replicas: 2, stages: 2)
    let run = try TinyRun(TinyRun.cuttable + layout.overrides, steps: 20, in: scratch)
    // One rank validates when the others go on to the next step.
    let job = try Job(
      run.command(byRank: (0..<4).map { $0 == 2 ? ["evaluation.every=3"] : [] }),
      environment: ["LOCKSTEP_CHECK": "1"], in: scratch)
    let outcome = try job.outcome(deadlineSeconds: 60)
    #expect(outcome.exitCode == ExitCode.outOfLockstep.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("rank 2 calls "), "\(outcome.error)")
    #expect(outcome.error.contains("rank 0 calls exchange of step 4"), "\(outcome.error)")
    try expectNothingLeft()
  }
}
