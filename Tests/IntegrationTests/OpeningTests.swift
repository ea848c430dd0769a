import Core
import Foundation
import Testing

/// What is decided before a run's first step.
@Suite(.serialized) struct OpeningTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test func aConfigurationMayComeThroughAPipe() throws {
    let text = try String(contentsOfFile: Program.copyConfiguration, encoding: .utf8)
    let file = try scratch.file("copy.yaml", text)
    let data = try CopyData.path
    let program = try #require(Program.path)
    let line = """
      "\(program)" train <(cat "\(file)") train.steps=2 schedule.warmup_steps=1 \
      data.path="\(data)" --run run
      """
    let outcome = try Job(["bash", "-c", line], in: scratch).outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(2), .supervised(2)])
  func withoutItsDataARunLeavesNoFolder(launch: Program.Launch) throws {
    let run = try TinyRun(data: scratch.path + "/nowhere", in: scratch)
    let outcome = try run.train(launch)
    #expect(outcome.exitCode == ExitCode.missingInput.rawValue, "\(outcome.error)")
    if launch != .supervised(2) { #expect(!FileSystem.exists(run.path)) }
  }

  @Test func aRunInUseIsRefusedByTheSupervisorAtOnce() throws {
    let run = try TinyRun(steps: 30, in: scratch)
    let job = try run.start(faults: "forward:8:0:stop")
    let rank = try scratch.stoppedRank()
    let outcome = try run.train(.supervised(2))
    outcome.expectRefusal(.inputOutput, naming: ["another process trains here", "pid \(rank)"])
    kill(rank, SIGCONT)
    #expect(try job.outcome().exitCode == 0)
  }

  @Test func aRunNeedsAName() throws {
    for command in [["train"], ["launch", "-np", "2"]] {
      let outcome = try scratch.run(command + [Program.copyConfiguration, "--run", ""])
      #expect(outcome.exitCode == ExitCode.usage.rawValue)
      #expect(outcome.error.contains("--run needs the name of a folder"), "\(outcome.error)")
    }
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func aStopThatComesWhileTheRunIsOpenedNeedsNoStep(launch: Program.Launch) throws {
    let run = try TinyRun(in: scratch)
    let job = try run.start(launch, faults: "start:0:0:stop")
    let rank = try scratch.stoppedRank()
    kill(rank, SIGUSR1)
    kill(rank, SIGCONT)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    #expect(try run.lastStep == 0)
    #expect(try run.finish(launch).stepCount == 20)
  }

  /// A container's user, of whom the system knows nothing.
  @Test(.enabled(if: geteuid() == 0, "SKIPPED: only root becomes another user"))
  func aUserWithoutNameAndHomeIsEnough() throws {
    let run = try TinyRun(in: scratch)
    let whole = try TinyRun(name: "whole", in: scratch).finish()
    for folder in [scratch.path, scratch.path + "/tmp"] { chown(folder, 54321, 54321) }
    let user = [
      "setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", "env", "-u", "HOME", "-u",
      "USER", "-u", "LOGNAME",
    ]
    let outcome = try Job(user + run.command(.supervised(2)), in: scratch).outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(run.supervisorLines("launch").count == 1)
    #expect(try run.result().differences(from: whole) == [])
  }
}
