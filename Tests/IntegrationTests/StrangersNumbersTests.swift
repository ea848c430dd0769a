import Checkpoints
import Core
import Foundation
import Tensors
import Testing

/// Numbers and words out of other people's files and environments that would end a process by a
/// trap, let it compute in vain, or have it say what is not true.
@Suite(.serialized) struct StrangersNumbersTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// The values of a checkpoint, to be saved under another header.
  private struct Copy: StateSource {
    let checkpoint: Checkpoint

    func read(
      _ range: Range<Int>, of vector: StateVector, into destination: Vector
    ) throws(Failure) {
      try checkpoint.read(range, of: vector, into: destination)
    }
  }

  /// Trained from there on, the state could be computed but not saved.
  @Test(arguments: ["position", "tokens_seen"])
  func aStateThatNoRunCanGoOnFromIsRefused(name: String) throws {
    let run = try TinyRun(steps: 5, name: name, in: scratch)
    try run.finish()
    let checkpoint = try Checkpoint.open(run.path)
    var header = checkpoint.header
    if name == "position" { header.position = 1 << 53 - 1 } else { header.tokensSeen = 1 << 53 - 1 }
    _ = try CheckpointStore(folder: run.path + "/checkpoints").save(
      header, layout: checkpoint.layout, from: Copy(checkpoint: checkpoint))
    try TinyRun(steps: 10, name: name, in: scratch).train()
      .expectRefusal(.badData, naming: ["/state has \(name) 9007199254740991"])
    #expect(run.savedSteps == [5])
  }

  /// The supervisor believes a launch's own words, not those that stood there before it.
  @Test func anEndThatWasWrittenBeforeTheLaunchIsNone() throws {
    let run = try TinyRun(steps: 5, in: scratch)
    try run.finish()
    let file = run.path + "/events.jsonl"
    var events = try Data(contentsOf: URL(fileURLWithPath: file))
    for launch in 2...9 {
      events += Data(#"{"event":"end","incarnation":\#(launch),"step":10}"#.utf8) + Data("\n".utf8)
    }
    try events.write(to: URL(fileURLWithPath: file))
    let outcome = try TinyRun(steps: 10, in: scratch)
      .train(.supervised(1), faults: "start:-1:-1:kill")
    #expect(outcome.exitCode == ExitCode.internal.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("killed by SIGKILL"), "\(outcome.error)")
    #expect(run.savedSteps == [5])
  }

  @Test(arguments: ["OMPI_COMM_WORLD_RANK", "PMIX_RANK"])
  func aRanksNumberThatNoJobHasIsNoTrap(variable: String) throws {
    let environment = [
      "LOCKSTEP_JOB": String(repeating: "0123456789abcdef", count: 2),
      "LOCKSTEP_INCARNATION": "1", "LOCKSTEP_LEASE": scratch.path + "/lease",
      variable: "\(Int.max)",
    ]
    let outcome = try TinyRun(steps: 5, in: scratch).train(environment: environment)
    #expect(outcome.exitCode == ExitCode.inputOutput.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("this is launch 1, but launch 0 was started since"))
  }

  @Test func aModelThatNoMachineHoldsIsRefused() throws {
    let largest = [
      "model.encoder_layers=1000", "model.decoder_layers=1000", "model.dimension=65536",
      "model.feed_forward=1048576",
    ]
    try TinyRun(largest, steps: 5, in: scratch).train()
      .expectRefusal(.configuration, naming: ["parameters"])
    let bench = ["bench", "step", Program.copyConfiguration] + largest
    try scratch.run(bench).expectRefusal(.configuration, naming: ["parameters"])
  }

  @Test func moreRanksThanCanBeStartedAreRefused() throws {
    let lines = String(repeating: "localhost slots=65536\n", count: 153)
    let hosts = try scratch.file("hosts", lines)
    let launch = [
      "launch", "--dry-run", "--hostfile", hosts, Program.copyConfiguration,
      "data.path=\(try CopyData.path)", "--run", scratch.path + "/run",
    ]
    try scratch.run(launch).expectRefusal(.usage, naming: ["10027008 ranks"])
    #expect(try scratch.run(launch + ["-np", "2"]).exitCode == 0)
  }
}
