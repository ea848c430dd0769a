import Checkpoints
import Core
import Foundation
import Testing

/// What goes wrong inside a step is noticed by all ranks and leaves every checkpoint valid.
@Suite(.serialized) struct GuardTests {
  private static let steps = 12

  /// What nothing disturbed.
  private static let undisturbed = Result<RunResult, any Error> {
    try TinyRun(steps: steps, name: "undisturbed-guards", in: CopyData.scratch).finish()
  }

  private func expectUndisturbed(_ run: TinyRun, _ launch: Program.Launch) throws {
    let result = try run.finish(launch)
    #expect(result.differences(from: try Self.undisturbed.get()) == [])
  }

  /// A job in which a bit of a weight flips, and its one line.
  private func flip(
    _ settings: [String], _ launch: Program.Launch, faults: String, in scratch: Scratch
  ) throws -> (run: TinyRun, line: String) {
    let run = try TinyRun(settings + ["parallel.check_every=1"], steps: Self.steps, in: scratch)
    let outcome = try run.train(launch, faults: faults)
    #expect(outcome.exitCode == ExitCode.outOfLockstep.rawValue, "\(outcome.error)")
    let lines = outcome.errorLines.filter { $0.contains("in tensor") }
    #expect(lines.count == 1, "\(outcome.error)")
    let events = try String(contentsOfFile: run.path + "/events.jsonl", encoding: .utf8)
    #expect(events.contains("first in tensor"))
    return (run, lines.first ?? "")
  }

  // MARK: Copies of the weights

  @Test(arguments: [Program.Launch.alone, .mpirun(2), .mpirun(3)])
  func aBitThatFlipsInSharedMemoryStopsTheRun(launch: Program.Launch) throws {
    let scratch = try Scratch()
    // By rank 0, which may still compute the recorded digest of step 7 when others are in step 8.
    let (run, line) = try flip([], launch, faults: "forward:8:0:flip", in: scratch)
    #expect(line.contains("step 8: weights changed in memory after they were written"))
    #expect(line.contains(/found by rank \d, first in tensor encoder\/layer_00\//), "\(line)")
    #expect([[], [5]].contains(run.savedSteps))
    try expectUndisturbed(run, launch)
  }

  @Test func theRankWhoseOwnWeightsChangedIsNamed() throws {
    let scratch = try Scratch()
    // Two stages: a rank owns exactly its stage.
    let (run, line) = try flip(
      ["parallel.stages=2"], .mpirun(2), faults: "backward:7:1:flip", in: scratch)
    #expect(line.contains("found by rank 1, first in tensor "), "\(line)")
    #expect([[], [5]].contains(run.savedSteps))
  }

  @Test func theCopyThatDiffersFromTheOthersIsNamed() throws {
    let scratch = try Scratch()
    // All ranks at the same step: the owner of that weight finds its own, a rank that is not the
    // owner is found by comparison. One of the three trials has the owner, two have not.
    var byComparison = 0
    for rank in 0..<3 {
      let (run, line) = try flip(
        ["parallel.exchange=messages"], .mpirun(3), faults: "load:8:\(rank):flip", in: scratch)
      let isCompared = line.contains("that of rank \(rank) from the 2 others")
      #expect(isCompared || line.contains("found by rank \(rank),"), "\(line)")
      byComparison += isCompared ? 1 : 0
      #expect([[], [5]].contains(run.savedSteps))
      try FileManager.default.removeItem(atPath: run.path)
    }
    #expect(byComparison == 2)
  }

  @Test func ofTwoCopiesBothAreNamed() throws {
    let scratch = try Scratch()
    var lines: [String] = []
    for rank in 0..<2 {
      let (run, line) = try flip(
        ["parallel.exchange=messages"], .mpirun(2), faults: "exchange:8:\(rank):flip", in: scratch)
      lines.append(line)
      try expectUndisturbed(run, .mpirun(2))
      try FileManager.default.removeItem(atPath: run.path)
    }
    #expect(lines.count { $0.contains("those of rank 0 and of rank 1") } == 1, "\(lines)")
    #expect(lines.count { $0.contains("found by rank") } == 1, "\(lines)")
  }

  @Test func whatDiffersIsNotSaved() throws {
    let scratch = try Scratch()
    // The save after step 10 is the only check.
    let run = try TinyRun(
      ["parallel.check_every=1000", "parallel.exchange=messages", "checkpoint.every=10"],
      steps: Self.steps, in: scratch)
    let outcome = try run.train(.mpirun(3), faults: "save:10:1:flip")
    #expect(outcome.exitCode == ExitCode.outOfLockstep.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("step 10: the copies of the weights differ: that of rank 1"))
    #expect(run.savedSteps == [])
    try expectUndisturbed(run, .mpirun(2))
  }

  // MARK: Values that are not finite

  @Test(arguments: [
    ([], Program.Launch.mpirun(2)), (["parallel.stages=2"], .mpirun(2)),
    (["parallel.stages=2", "batch.micro_batches=2"], .mpirun(4)),
    (["parallel.exchange=messages"], .mpirun(3)),
  ])
  func oneStepThatIsNotFiniteIsSkippedByAll(settings: [String], launch: Program.Launch) throws {
    let scratch = try Scratch()
    let run = try TinyRun(
      settings + ["parallel.check_every=1"], steps: Self.steps, in: scratch)
    let outcome = try run.train(launch, faults: "backward:6:1:nan")
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let lines = outcome.errorLines.filter { $0.contains("step 6: the gradient is not finite") }
    #expect(lines.count == 1, "\(outcome.error)")
    let digests = try weightDigests(run)
    #expect(digests[6] == digests[5] && digests[7] != digests[6])
  }

  @Test func threeInARowEndTheRun() throws {
    let scratch = try Scratch()
    // A save a step: one of the last is asked for while another is under way.
    let run = try TinyRun(["checkpoint.every=1"], steps: Self.steps, in: scratch)
    let outcome = try run.train(
      .mpirun(2), faults: "backward:6:0:nan,backward:7:1:nan,backward:8:-1:nan")
    #expect(outcome.exitCode == ExitCode.diverged.rawValue, "\(outcome.error)")
    #expect(!run.savedSteps.contains(8))
    // Without the lines of the steps that went wrong, which are others now.
    try FileManager.default.removeItem(atPath: run.path + "/events.jsonl")
    let again = try run.finish(.mpirun(2))
    let differences = again.differences(from: try Self.undisturbed.get())
    #expect(differences.allSatisfy { $0.hasSuffix("missing") || $0.contains(": missing |") })
  }

  @Test func twoInARowAndTwoMoreDoNot() throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: Self.steps, in: scratch)
    let outcome = try run.train(
      faults: "backward:3:0:nan,backward:4:0:nan,backward:6:0:nan,backward:7:0:nan")
    #expect(outcome.exitCode == 0, "\(outcome.error)")
  }

  @Test func aRestartDoesNotForgetTheRow() throws {
    let scratch = try Scratch()
    // Steps 4 and 5 are skipped, 5 is saved as the last; 6 is the third in a row.
    let short = try TinyRun(steps: 5, in: scratch)
    let first = try short.train(faults: "backward:4:0:nan,backward:5:0:nan")
    #expect(first.exitCode == 0, "\(first.error)")
    #expect(short.savedSteps == [5])
    let second = try TinyRun(steps: Self.steps, in: scratch).train(faults: "backward:6:0:nan")
    #expect(second.exitCode == ExitCode.diverged.rawValue, "\(second.error)")
  }

  private func weightDigests(_ run: TinyRun) throws -> [Int: Substring] {
    let text = try String(contentsOfFile: run.path + "/events.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").filter { $0.hasPrefix("{\"event\":\"step\"") }
      .reduce(into: [:]) { digests, line in
        let match = try #require(
          line.firstMatch(of: /"step":(\d+),.*"weights_digest":"([0-9a-f]+)"/))
        digests[Int(match.1) ?? 0] = match.2
      }
  }

  // MARK: Waiting

  @Test(arguments: [
    ("update", [String]()), ("exchange", []), ("exchange", ["parallel.exchange=messages"]),
    ("forward", ["parallel.stages=2"]), ("evaluate", []), ("load", ["parallel.exchange=mpi"]),
  ])
  func whoWaitsTooLongSaysForWhom(point: String, settings: [String]) throws {
    let scratch = try Scratch()
    let run = try TinyRun(
      settings + ["runtime.stall_seconds=1"], steps: Self.steps, in: scratch)
    let job = try run.start(.mpirun(2), faults: "\(point):5:1:stop")
    let line = try eventually("a line about the wait") { () -> String? in
      job.errorSoFar.split(separator: "\n").map(String.init).first { $0.contains("has waited") }
    }
    #expect(line.contains("lockstep: rank 0, step 5: has waited 1 s for "), "\(line)")
    #expect(line.hasSuffix("rank 1 has not arrived"), "\(line)")
    let stopped = try scratch.stoppedRank()
    kill(stopped, SIGCONT)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let log = try String(contentsOfFile: run.path + "/logs/rank-00000.log", encoding: .utf8)
    #expect(log.contains("has waited 1 s"))
    if settings != ["parallel.exchange=mpi"] {
      #expect(try run.result().differences(from: Self.undisturbed.get()) == [])
    }
  }

  @Test func aRankThatSkipsAnExchangeIsNamed() throws {
    let scratch = try Scratch()
    let run = try TinyRun(["runtime.stall_seconds=1"], steps: Self.steps, in: scratch)
    let job = try run.start(.mpirun(2), faults: "exchange:5:1:skip")
    let line = try eventually("a line of rank 0") { () -> String? in
      job.errorSoFar.split(separator: "\n").map(String.init)
        .first { $0.contains("rank 0, step 5: has waited") }
    }
    #expect(line.contains("the gradient exchange (bucket 0 of "), "\(line)")
    #expect(line.hasSuffix("rank 1 has not arrived"), "\(line)")
    scratch.kill()
    _ = try job.outcome()
  }

  @Test func aRankThatSkipsAnEvaluationIsNamedWithBothCalls() throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: Self.steps, in: scratch)
    let outcome = try run.train(.mpirun(2), faults: "evaluate:5:1:skip", checks: true)
    #expect(outcome.exitCode == ExitCode.outOfLockstep.rawValue, "\(outcome.error)")
    #expect(
      outcome.error.contains(
        "rank 1 calls the comparison of the weights in step 5, rank 0 calls a validation"),
      "\(outcome.error)")
  }

  // MARK: Deaths

  @Test(arguments: FaultPoint.allCases)
  func killedAtAnyPointTheNextLaunchGoesOn(point: FaultPoint) throws {
    let scratch = try Scratch()
    let run = try TinyRun(["checkpoint.every=10"], steps: Self.steps, in: scratch)
    let step =
      switch point {
      case .start: 0
      case .evaluate, .save, .write, .publish: 10
      case .load, .forward, .backward, .exchange, .update: 7
      }
    let fault = "\(point):\(step):\(point == .publish ? 0 : 1):kill@1"
    let outcome = try run.train(.mpirun(2), faults: fault)
    #expect(outcome.exitCode == 128 + SIGKILL, "\(outcome.error)")
    #expect(outcome.error.contains("fault point \(point), step \(step): kill"))
    let again = try run.train(.mpirun(2), faults: fault)
    #expect(again.exitCode == 0, "\(again.error)")
    #expect(try run.result().differences(from: Self.undisturbed.get()) == [])
  }
}
