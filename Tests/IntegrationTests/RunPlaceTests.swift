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
    let first = try run.start(.mpirun(2), faults: "forward:3:0:stop")
    let stopped = try scratch.stoppedRank()
    for launch in [Program.Launch.alone, .mpirun(2)] {
      try run.train(launch).expectRefusal(.inputOutput, naming: ["run", "pid"])
    }
    kill(stopped, SIGCONT)
    #expect(try first.outcome().exitCode == 0)
    let alone = try TinyRun(steps: 100, name: "alone", in: scratch).finish()
    #expect(try run.result().differences(from: alone) == [])
  }

  /// Of which a rank needs one for each rank of other hosts.
  @Test func aShellsLimitOnDescriptorsIsNoLimitOfRanks() throws {
    let run = try TinyRun(steps: 5, in: scratch)
    let limited =
      ["bash", "-c", "ulimit -Sn 200 && exec \"$@\"", "bash"] + (try run.command(.mpirun(2)))
    let job = try Job(limited, environment: ["LOCKSTEP_FAULT": "forward:3:1:stop"], in: scratch)
    let stopped = try scratch.stoppedRank()
    let limits = try String(contentsOfFile: "/proc/\(stopped)/limits", encoding: .utf8)
    let line = try #require(limits.split(separator: "\n").first { $0.hasPrefix("Max open files") })
    let words = line.split(separator: " ")
    #expect(words[3] == words[4] && words[3] != "200", "\(line)")
    kill(stopped, SIGCONT)
    #expect(try job.outcome().exitCode == 0)
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

  // MARK: - Places that change under a run

  /// Runs 20 steps, the first five in a launch before, with a change while rank 0 stands still
  /// between two saves.
  private func train(
    _ run: TinyRun, _ launch: Program.Launch, changing change: () throws -> Void
  ) throws -> Outcome {
    let job = try run.start(launch, faults: "load:8:0:stop")
    let rank = try scratch.stoppedRank()
    try change()
    kill(rank, SIGCONT)
    return try job.outcome()
  }

  private static let anotherPlace = "is not the directory this run was started in"

  /// It trains on, and saves neither where nobody looks nor into a directory that is not its own.
  @Test func aRunDirectoryThatIsMovedAwayIsNotMadeAnew() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    let aside = run.path + "-aside"
    let outcome = try train(run, .alone) {
      try FileManager.default.moveItem(atPath: run.path, toPath: aside)
    }
    #expect(!FileSystem.exists(run.path))
    try FileManager.default.moveItem(atPath: aside, toPath: run.path)
    try expectGoesOn(run, outcome, Self.anotherPlace)
    try expectWhole(run)
  }

  @Test func whatStandsInThePlaceOfARunDirectoryStaysAsItIs() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    let other = try TinyRun(["seed=9"], steps: 15, name: "other", in: scratch)
    let otherResult = try other.finish()
    let steps = other.savedSteps
    let outcome = try train(run, .mpirun(2)) {
      try FileManager.default.moveItem(atPath: run.path, toPath: run.path + "-aside")
      try FileManager.default.moveItem(atPath: other.path, toPath: run.path)
    }
    #expect(run.savedSteps == steps)
    #expect(try run.result().differences(from: otherResult) == [])
    try FileManager.default.moveItem(atPath: run.path, toPath: other.path)
    try FileManager.default.moveItem(atPath: run.path + "-aside", toPath: run.path)
    try expectGoesOn(run, outcome, Self.anotherPlace)
    try expectWhole(run)
  }

  @Test func aRunDirectoryThatIsRemovedIsNotMadeAnew() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    let outcome = try train(run, .alone) { try FileSystem.remove(run.path) }
    #expect(outcome.exitCode == ExitCode.inputOutput.rawValue, "\(outcome.error)")
    #expect(problems(of: outcome).count == 1 && outcome.error.contains(Self.anotherPlace))
    #expect(outcome.output.contains("NOT saved after step 20, training goes on"))
    #expect(!FileSystem.exists(run.path))
    try expectWhole(run)
  }

  @Test func aRunDirectoryThatVanishesUnderASupervisorEndsIt() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    let aside = run.path + "-aside"
    let outcome = try train(run, .supervised(2)) {
      try FileManager.default.moveItem(atPath: run.path, toPath: aside)
    }
    // Whatever ends the ranks, what they cannot save or that one stood still, no launch can follow.
    #expect(outcome.exitCode == ExitCode.cannotCreate.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains(run.path + "/incarnation"), "\(outcome.error)")
    #expect(!FileSystem.exists(run.path))
    try FileManager.default.moveItem(atPath: aside, toPath: run.path)
    #expect(run.supervisorLines("death").count == 1)
    try expectWhole(run)
  }

  /// What is open already can be written still.
  @Test(.enabled(if: canMount, "SKIPPED: needs the right to mount a small tmpfs"))
  func whereNothingNewCanBeWrittenTrainingGoesOn() throws {
    try TinyRun(steps: 5, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    defer { Self.unmount(run.path, in: scratch) }
    let outcome = try train(run, .mpirun(2)) {
      try must(["mount", "--bind", run.path, run.path])
      try must(["mount", "-o", "remount,bind,ro", run.path])
    }
    try expectGoesOn(run, outcome, "Read-only file system")
    try must(["umount", run.path])
    try expectWhole(run)
  }

  @Test(.enabled(if: canMountDisk, "SKIPPED: needs mkfs.ext4 and the right to mount its files"))
  func aDiskThatGivesUpUnderARunHarmsNothingSaved() throws {
    let disk = try Self.mountDisk(in: scratch)
    defer { Self.unmount(disk, in: scratch) }
    try TinyRun(steps: 5, name: "disk/run", in: scratch).finish()
    let run = try TinyRun(steps: 20, name: "disk/run", in: scratch)
    let outcome = try train(run, .alone) {
      // Lines of events are the kernel's to write when it likes.
      try must(["sync", "--file-system", disk])
      // What it does with a disk that it can no longer write.
      try must(["mount", "-o", "remount,abort", disk])
    }
    #expect(outcome.exitCode == ExitCode.inputOutput.rawValue, "\(outcome.error)")
    #expect(problems(of: outcome).count == 2, "\(outcome.error)")
    #expect(outcome.error.contains("an event could not be recorded (Read-only file system)"))
    #expect(outcome.output.contains("NOT saved after step 20, training goes on"))
    try must(["umount", disk])
    // A copy: the mount namespaces of other tests' hosts may still hold the file system as it is.
    let (image, copy) = (scratch.path + "/image", scratch.path + "/copy")
    try must(["cp", image, copy])
    try must(["mount", "-o", "loop", copy, disk])
    #expect(run.savedSteps == [5])
    try expectWhole(run)
  }

  private func must(_ command: [String]) throws {
    let outcome = try Job(command, in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(command): \(outcome.error)")
  }

  private static let canMountDisk: Bool = {
    guard let scratch = try? Scratch(), let disk = try? mountDisk(in: scratch) else { return false }
    unmount(disk, in: scratch)
    return true
  }()

  /// A file system of its own, in a file.
  private static func mountDisk(in scratch: Scratch) throws -> String {
    let path = scratch.path + "/disk"
    let image = try scratch.file("image", "")
    try FileSystem.createFolder(path)
    for command in [
      ["truncate", "-s", "16M", image], ["mkfs.ext4", "-q", image],
      ["mount", "-o", "loop", image, path],
    ] {
      let outcome = try Job(command, in: scratch).outcome()
      try #require(outcome.exitCode == 0, "\(outcome.error)")
    }
    return path
  }

  // MARK: - What training on means

  private func expectGoesOn(_ run: TinyRun, _ outcome: Outcome, _ reason: String) throws {
    // What the last step has made is lost: that is no success.
    #expect(outcome.exitCode == ExitCode.inputOutput.rawValue, "\(outcome.error)")
    #expect(problems(of: outcome).count == 1, "\(outcome.error)")
    #expect(outcome.error.hasPrefix("lockstep: ") && outcome.error.contains(reason))
    // A save that is due while another is under way waits for it.
    #expect(outcome.output.contains("NOT saved after step 10, training goes on"))
    #expect(outcome.output.contains("NOT saved after step 20, training goes on"))
    #expect(run.savedSteps == [5])
    #expect(try RunResult.stepLines(run: run.path).count == 20)
    #expect(try Checkpoint.open(run.path) { _ in }.header.step == 5)
  }

  /// What was said, but for what a fault point says.
  private func problems(of outcome: Outcome) -> [String] {
    outcome.errorLines.filter { !$0.hasPrefix("lockstep: fault point ") }
  }

  /// With room again, the same command ends where it would have.
  private func expectWhole(_ run: TinyRun) throws {
    let alone = try TinyRun(steps: 20, name: "alone", in: scratch).finish()
    #expect(try run.finish().differences(from: alone) == [])
  }
}
