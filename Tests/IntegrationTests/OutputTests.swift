import Core
import Foundation
import Testing

/// Output that nobody takes: a result that was not written is a failure, a run goes on.
@Suite(.serialized) struct OutputTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Runs the program with other outputs, as a shell would.
  private func shell(
    _ redirection: String, _ arguments: [String], input: String = ""
  ) throws -> Outcome {
    let line = ["bash", "-c", "\"$@\" \(redirection)", "bash"] + (try Program.command(arguments))
    return try Job(line, input: Data(input.utf8), in: scratch).outcome()
  }

  @Test(arguments: [">/dev/full", ">&-"])
  func aResultThatIsNotWrittenIsAFailure(redirection: String) throws {
    let (run, data) = (try TinyRun.trained, try CopyData.path)
    for arguments in [
      ["inspect", run], ["inspect", "--json", run], ["inspect", "--verify", run],
      ["inspect", "--verify", "--json", run], ["inspect", "--diff", run, run],
      ["inspect", "--diff", "--json", run, run],
      ["evaluate", "--checkpoint", run, "--data", data],
      ["evaluate", "--checkpoint", run, "--data", data, "--json"],
      ["translate", "--checkpoint", run], ["translate", "--checkpoint", run, "--json"],
      ["average", run, "--last", "1", "--out", "averaged-\(UUID().uuidString)"],
      ["bench", "step", Program.copyConfiguration, "--steps", "1", "--length", "4"],
      ["bench", "step", Program.copyConfiguration, "--steps", "1", "--length", "4", "--json"],
      ["bench", "exchange", "--from", "64", "--to", "64"],
      ["bench", "exchange", "--from", "64", "--to", "64", "--json"],
      ["launch", "--dry-run", Program.copyConfiguration, "--run", "r"],
    ] {
      let outcome = try shell(redirection, arguments, input: "a b\n")
      #expect(
        outcome.exitCode == ExitCode.inputOutput.rawValue,
        "\(arguments) \(redirection): \(outcome.exitCode), \(outcome.error)")
      #expect(outcome.error.contains("standard output: cannot write"), "\(outcome.error)")
    }
  }

  @Test(arguments: ["2>/dev/full", "2>&-"])
  func whatIsSaidBesideCannotFailPreparation(redirection: String) throws {
    let outcome = try shell(redirection, ["prepare", "--preset", "copy", "--out", "data"])
    #expect(outcome.exitCode == 0)
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
    #expect(names.filter { $0.contains("partial") } == [])
    #expect(names.contains("data"))
  }

  @Test(arguments: [
    "| head -n 1", "| true", ">/dev/full", ">&-", "<&- >&-", "2>&1 | head -n 1",
  ])
  func aRunWhoseReaderIsGoneGoesOn(redirection: String) throws {
    let run = try TinyRun(in: scratch)
    let shell = ["bash", "-c", "set -o pipefail; \"$@\" \(redirection)", "bash"]
    let outcome = try Job(shell + run.command(), in: scratch).outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    if !redirection.hasPrefix("2") {
      #expect(outcome.error.contains("lines could not be written"), "\(outcome.error)")
    }
    #expect(try run.result().stepCount == 20)
    // What would have been printed is in no file of the run.
    for name in try FileManager.default.subpathsOfDirectory(atPath: run.path) {
      let bytes = FileManager.default.contents(atPath: run.path + "/" + name) ?? Data()
      #expect(bytes.range(of: Data("tok/s".utf8)) == nil, "\(name)")
    }
  }

  @Test func aLostTerminalSavesAndNohupGoesOn() throws {
    for (prefix, code) in [([], ExitCode.stoppedResumable), (["nohup"], .success)] {
      let run = try TinyRun(
        ["checkpoint.every=1000"], steps: 40, name: "run-\(code)", in: scratch)
      let job = try Job(
        prefix + run.command(), environment: ["LOCKSTEP_FAULT": "forward:8:0:stop"], in: scratch)
      let rank = try scratch.stoppedRank()
      kill(rank, SIGHUP)
      kill(rank, SIGCONT)
      let outcome = try job.outcome()
      #expect(outcome.exitCode == code.rawValue, "\(prefix): \(outcome.error)")
      #expect(run.savedSteps == (code == .success ? [40] : [8]), "\(prefix)")
    }
  }

  /// Ctrl-Z.
  @Test func aSupervisorThatIsSuspendedSuspendsItsRanks() throws {
    let run = try TinyRun(["checkpoint.every=1000"], steps: 200_000, in: scratch)
    let job = try run.start(.supervised(2))
    try run.waitForStep(20, of: job)
    let supervisor = try #require(
      scratch.processes.first { process in
        Scratch.commandLine(of: process).split(separator: "\0").dropFirst().first == "launch"
      })
    kill(supervisor, SIGTSTP)
    try eventually("all stand still") {
      let processes = scratch.processes
      return processes.count >= 4 && processes.allSatisfy(Scratch.isStopped) ? true : nil
    }
    let step = try run.lastStep
    #expect(step < 200_000)
    kill(supervisor, SIGCONT)
    try run.waitForStep(step + 5, of: job)
    job.send(SIGTERM)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    #expect(run.supervisorLines("death").isEmpty)
  }
}
