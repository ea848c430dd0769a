import Checkpoints
import Core
import Foundation
import Testing

/// Places where a run cannot live, or cannot grow.
@Suite(.serialized) struct RunPlaceTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func aPlaceThatCannotBeWrittenIsRefused(launch: Program.Launch) throws {
    try scratch.file("file", "")
    try TinyRun(name: "file/run", in: scratch).train(launch)
      .expectRefusal(.cannotCreate, naming: ["file/run"])
    try TinyRun(name: "file", in: scratch).train(launch)
      .expectRefusal(.cannotCreate, naming: ["file"])
  }

  @Test func aSecondJobInTheSameRunIsRefused() throws {
    let run = try TinyRun(steps: 100, in: scratch)
    let first = try run.start(.mpirun(2))
    try run.waitForStep(2, of: first)
    for launch in [Program.Launch.alone, .mpirun(2)] {
      try run.train(launch).expectRefusal(.inputOutput, naming: ["run", "pid"])
    }
    #expect(try first.outcome().exitCode == 0)
    let alone = try TinyRun(steps: 100, name: "alone", in: scratch).finish()
    #expect(try run.result().differences(from: alone) == [])
  }

  /// The file size limit stands for a disk that has room for small files only.
  @Test func withoutRoomForCheckpointsTrainingGoesOn() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    let limited = ["bash", "-c", "ulimit -f 128 && exec \"$@\"", "bash"] + (try run.command())
    try expectGoesOn(run, Job(limited, in: scratch).outcome(), "File too large")
    try expectWhole(run)
  }

  /// Small disks can be mounted by root where the container lets it.
  private static let canMount: Bool = {
    guard let scratch = try? Scratch(), let disk = try? mount(in: scratch) else { return false }
    unmount(disk, in: scratch)
    return true
  }()

  /// A disk of four megabytes in a folder of its own.
  private static func mount(in scratch: Scratch) throws -> String {
    let path = scratch.path + "/disk"
    try FileSystem.createFolder(path)
    let mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", path]
    let outcome = try Job(mount, in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    return path
  }

  private static func unmount(_ path: String, in scratch: Scratch) {
    scratch.kill()
    _ = try? Job(["umount", "--lazy", path], in: scratch).outcome()
  }

  @Test(
    .enabled(if: canMount, "SKIPPED: needs the right to mount a small tmpfs"),
    arguments: [Program.Launch.alone, .mpirun(3)])
  func onAFullDiskTrainingGoesOn(launch: Program.Launch) throws {
    let disk = try Self.mount(in: scratch)
    defer { Self.unmount(disk, in: scratch) }
    try TinyRun(steps: 5, name: "disk/run", in: scratch).finish()
    let run = try TinyRun(steps: 20, name: "disk/run", in: scratch)
    // Room for what is logged, not for a checkpoint.
    let free = try #require(FileSystem.freeByteCount(at: disk))
    try scratch.file("disk/filler", Data(count: free - 100_000))
    try expectGoesOn(run, run.train(launch), "No space left on device")
    try FileSystem.remove(disk + "/filler")
    try expectWhole(run)
  }

  private func expectGoesOn(_ run: TinyRun, _ outcome: Outcome, _ reason: String) throws {
    // What the last step has made is lost: that is no success.
    #expect(outcome.exitCode == ExitCode.inputOutput.rawValue, "\(outcome.error)")
    #expect(outcome.errorLines.count == 1, "\(outcome.error)")
    #expect(outcome.error.hasPrefix("lockstep: ") && outcome.error.contains(reason))
    // A save that is due while another is under way waits for it.
    #expect(outcome.output.contains("NOT saved after step 10, training goes on"))
    #expect(outcome.output.contains("NOT saved after step 20, training goes on"))
    #expect(run.savedSteps == [5])
    #expect(try RunResult.stepLines(run: run.path).count == 20)
    #expect(try Checkpoint.open(run.path) { _ in }.header.step == 5)
  }

  /// With room again, the same command ends where it would have.
  private func expectWhole(_ run: TinyRun) throws {
    let alone = try TinyRun(steps: 20, name: "alone", in: scratch).finish()
    #expect(try run.finish().differences(from: alone) == [])
  }
}
