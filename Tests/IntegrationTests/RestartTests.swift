import Checkpoints
import Core
import Foundation
import Testing

/// What an interruption changes: nothing.
@Suite(.serialized) struct RestartTests {
  private static let steps = 100

  /// The run that nobody interrupts.
  private static let uninterrupted = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(steps: steps, in: scratch).finish()
  }

  /// So many that the first saves end long before the run does, on a busy machine, too.
  private static let manySteps = 600

  private static let uninterruptedForLong = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(steps: manySteps, in: scratch).finish()
  }

  private func expectUninterrupted(_ result: RunResult) throws {
    #expect(result.differences(from: try Self.uninterrupted.get()) == [])
    #expect(result.stepCount == Self.steps)
  }

  /// Killed anywhere within 40 steps: then a rank stands still, however late this test looks.
  @Test(arguments: [
    (Program.Launch.alone, 1), (.alone, 2), (.mpirun(2), 3), (.mpirun(3), 4), (.mpirun(8), 5),
  ])
  func aKilledJobGoesOnAsIfNothingHadHappened(launch: Program.Launch, seed: Int) throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: Self.steps, in: scratch)
    let stream = RandomStream(seed: UInt64(seed), purpose: .synthesis, site: 0, a: 0)
    let step = 1 + Int(stream.uniform(at: 0) * 40)
    let job = try run.start(launch, faults: "forward:\(step + 40):0:stop")
    try run.waitForStep(step, of: job)
    scratch.kill()
    #expect(try job.outcome().exitCode == 128 + SIGKILL)
    #expect(scratch.processes == [])
    try expectUninterrupted(run.finish(launch))
  }

  /// Whoever waits for the end of a run hears of it, also where there was nothing left to do.
  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func aRunAtItsEndSaysSo(launch: Program.Launch) throws {
    let scratch = try Scratch()
    let undisturbed = try TinyRun(steps: 10, in: scratch).finish(launch)
    for steps in [10, 5] {
      let again = try TinyRun(steps: steps, in: scratch)
      let outcome = try again.train(launch)
      #expect(outcome.exitCode == 0)
      #expect(outcome.error.contains("nothing is left to do: step 10 is saved"))
      #expect(try again.result().differences(from: undisturbed) == [])
    }
    let events = try String(contentsOfFile: scratch.path + "/run/events.jsonl", encoding: .utf8)
    for kind in ["start", "end"] {
      #expect(events.components(separatedBy: "\"event\":\"\(kind)\"").count - 1 == 3)
    }
  }

  @Test func everyLaunchMayHaveAnotherNumberOfRanks() throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: Self.steps, in: scratch)
    for (launch, step) in [(Program.Launch.mpirun(3), 12), (.mpirun(8), 31), (.alone, 55)] {
      let job = try run.start(launch, faults: "forward:\(step + 40):0:stop")
      try run.waitForStep(step, of: job)
      scratch.kill()
      _ = try job.outcome()
    }
    try expectUninterrupted(run.finish(.mpirun(5)))
  }

  @Test(arguments: [
    (Program.Launch.alone, SIGUSR1), (.mpirun(3), SIGUSR1), (.alone, SIGTERM),
  ])
  func askedToStopItSavesAndEndsResumable(launch: Program.Launch, signal: Int32) throws {
    let scratch = try Scratch()
    // No save on schedule: the one that is found was asked for.
    let run = try TinyRun(["checkpoint.every=1000"], steps: Self.steps, in: scratch)
    let job = try run.start(launch, faults: "forward:8:0:stop")
    try interrupt(job, by: signal, in: scratch)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    #expect(outcome.output.hasSuffix("stopped after saving; the same command goes on from here\n"))
    let isAnswered = launch == .alone && signal == SIGTERM
    #expect(
      outcome.errorLines.filter { !$0.contains("fault point") }
        == (isAnswered ? ["saving after this step; again ends at once"] : []))
    let step = try #require(run.savedSteps.first)
    #expect(run.savedSteps.count == 1 && step >= 8 && step < Self.steps)
    try expectUninterrupted(run.finish(launch))
  }

  @Test func theLearningRateMayChangeIfSomebodySaysSo() throws {
    let scratch = try Scratch()
    func changed(_ flags: [String], _ name: String) throws -> TinyRun {
      try TinyRun(["schedule.warmup_steps=30"] + flags, name: name, in: scratch)
    }
    try TinyRun(steps: 10, name: "a", in: scratch).finish()
    try FileManager.default.copyItem(atPath: scratch.path + "/a", toPath: scratch.path + "/b")
    let refused = try changed([], "a").train(.mpirun(2))
    refused.expectRefusal(
      .configuration, naming: ["schedule.warmup_steps: 10 -> 30", "--new-schedule"])

    let one = try changed(["--new-schedule"], "a").train()
    #expect(one.exitCode == 0)
    #expect(one.error.contains("after step 10: schedule.warmup_steps: 10 -> 30"), "\(one.error)")
    // From here on it is the run's, and nobody need say it again.
    let again = try changed([], "b").train(.supervised(3))
    #expect(again.exitCode == ExitCode.configuration.rawValue)
    let three = try changed(["--new-schedule"], "b").train(.supervised(3))
    #expect(three.exitCode == 0, "\(three.error)")
    #expect(try changed([], "b").train().exitCode == 0)
    let results = try ["a", "b"].map { try changed([], $0).result() }
    #expect(results[0].differences(from: results[1]) == [])
    let unchanged = try TinyRun(name: "c", in: scratch).finish()
    #expect(results[0].differences(from: unchanged) != [])
  }

  /// Where a rank stands still until the kernel holds the signal for it.
  @Test(
    arguments: [
      (Program.Launch.alone, SIGTERM), (.mpirun(2), SIGUSR1), (.supervised(2), SIGTERM),
    ], [FaultPoint.write, .publish])
  func askedToStopInsideASaveItEndsResumable(
    asked: (launch: Program.Launch, signal: Int32), point: FaultPoint
  ) throws {
    let scratch = try Scratch()
    let run = try TinyRun(["checkpoint.every=10"], steps: Self.manySteps, in: scratch)
    let job = try run.start(asked.launch, faults: "\(point):10:0:stop@1")
    try interrupt(job, by: asked.signal, in: scratch)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    // That save has ended well, and the one that was asked for.
    #expect(run.savedSteps.count == 2 && run.savedSteps.first == 10, "\(run.savedSteps)")
    #expect(try run.savedSteps.last == run.lastStep)
    for step in run.savedSteps {
      _ = try Checkpoint(folder: run.checkpoint(step))
    }
    try #require(run.savedSteps.last ?? 0 < Self.manySteps, "stopped too late to prove anything")
    let result = try run.finish(asked.launch)
    #expect(result.differences(from: try Self.uninterruptedForLong.get()) == [])
  }

  @Test func askedToStopInsideTheLastSaveItEndsWell() throws {
    let scratch = try Scratch()
    let run = try TinyRun(["checkpoint.every=1000"], steps: Self.steps, in: scratch)
    let job = try run.start(faults: "publish:\(Self.steps):0:stop")
    try interrupt(job, by: SIGTERM, in: scratch)
    #expect(try job.outcome().exitCode == 0)
    #expect(run.savedSteps == [Self.steps])
    try expectUninterrupted(run.result())
  }

  /// Sends a job the signal while one of its ranks stands still, and lets it go on with it.
  private func interrupt(_ job: Job, by signal: Int32, in scratch: Scratch) throws {
    let rank = try scratch.stoppedRank()
    job.send(signal)
    try eventually(within: 10, "the signal waits for the rank") {
      Scratch.hasPendingSignal(rank) ? true : nil
    }
    kill(rank, SIGCONT)
  }

  /// A scheduler may follow its warning with TERM before the step is done.
  @Test func aFirstTERMAfterUSR1SavesToo() throws {
    let scratch = try Scratch()
    let run = try TinyRun(["checkpoint.every=1000"], steps: Self.steps, in: scratch)
    // Twice in one step: the first signal has been heard, and not yet been answered.
    let job = try run.start(faults: "forward:8:0:stop,backward:8:0:stop")
    for signal in [SIGUSR1, SIGTERM] {
      let rank = try scratch.stoppedRank()
      job.send(signal)
      kill(rank, SIGCONT)
    }
    #expect(try job.outcome().exitCode == ExitCode.stoppedResumable.rawValue)
    #expect(run.savedSteps.count == 1)
  }

  /// `timeout` says TERM to the process and to its group.
  @Test func signalsAtOnceAreOneRequestAndLaterOnesAnother() throws {
    for (count, code) in [(2, ExitCode.stoppedResumable.rawValue), (3, 128 + SIGINT)] {
      let scratch = try Scratch()
      let run = try TinyRun(["checkpoint.every=1000"], steps: Self.steps, in: scratch)
      let job = try run.start(faults: "forward:8:0:stop,backward:8:0:stop")
      let rank = try scratch.stoppedRank()
      // Both wait for the rank, and are taken one after the other.
      for signal in [SIGTERM, SIGINT] { job.send(signal) }
      kill(rank, SIGCONT)
      try eventually("the rank has heard them") {
        job.errorSoFar.contains("saving after this step") && Scratch.isStopped(rank) ? true : nil
      }
      let heard = Date.now
      try eventually("a second later") { Date.now > heard + 1.1 ? true : nil }
      if count > 2 { job.send(SIGINT) }
      kill(rank, SIGCONT)
      #expect(try job.outcome().exitCode == code)
      #expect(run.savedSteps.count == (count > 2 ? 0 : 1))
    }
  }

  @Test func askedToSaveItSavesAndGoesOn() throws {
    let scratch = try Scratch()
    let run = try TinyRun(["checkpoint.every=1000"], steps: Self.steps, in: scratch)
    let job = try run.start(faults: "forward:8:0:stop")
    try interrupt(job, by: SIGUSR2, in: scratch)
    #expect(try job.outcome().exitCode == 0)
    #expect(run.savedSteps.count == 2)
    try expectUninterrupted(run.result())
  }

  @Test func checkpointsPutBackWithoutALaunchNumberGoOn() throws {
    let scratch = try Scratch()
    for steps in [5, 10] { try TinyRun(steps: steps, in: scratch).finish() }
    let run = try TinyRun(steps: 15, in: scratch)
    try FileManager.default.removeItem(atPath: run.path + "/incarnation")
    try run.finish()
    #expect(run.savedSteps == [5, 10, 15])
  }

  @Test func aFinishedRunHasNothingLeftToDo() throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: 5, in: scratch)
    let first = try run.finish()
    let again = try run.finish(.mpirun(2))
    #expect(again.differences(from: first) == [])
    #expect(again.stepCount == 5)
  }

  @Test func aDeadRankTakesTheJobDown() throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: Self.steps * 100, in: scratch)
    let job = try run.start(.mpirun(3))
    try run.waitForStep(3, of: job)
    let ranks = scratch.ranks
    try #require(ranks.count == 3)
    kill(try #require(ranks.max()), SIGKILL)
    let outcome = try job.outcome(deadlineSeconds: 30)
    #expect(outcome.exitCode != 0)
    #expect(outcome.exitCode != ExitCode.stoppedResumable.rawValue)
    try eventually(within: 10, "all ranks gone") { scratch.processes.isEmpty ? true : nil }
  }
}
