import Checkpoints
import Core
import Foundation
import Testing

/// Reading where not the checkpoint is at fault, but the disk or the process that reads.
@Suite struct UnreadableTests {
  /// Runs a command whose every read of one of the files fails.
  private static func runWithBadSectors(
    in files: [String], log: String, _ command: [String]
  ) throws -> Probe.Ending {
    try Probe.run(
      ["strace", "-f", "-qq", "-o", log] + files.flatMap { ["-P", $0] }
        + ["-e", "trace=pread64", "-e", "inject=pread64:error=EIO"] + command)
  }

  @Test func whatTheReaderLacksIsNotTakenForDamage() throws {
    let beside = try #require(Probe.folder)
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      for step in [1, 2] {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      // Alone, it cannot start the program that looks into files.
      let probe = folder + "/CheckpointProbe"
      try FileManager.default.copyItem(atPath: beside + "/CheckpointProbe", toPath: probe)
      let found = try Probe.run([probe, folder + "/checkpoints", "newest"])
      #expect(found.status == ExitCode.internal.rawValue, "\(found)")
      #expect(found.error.contains("cannot start"))
    }
  }

  @Test(.enabled(if: Probe.canTrace, "SKIPPED: needs strace and the right to trace"))
  func aBadSectorCostsOneCheckpointAndADiskThatGivesNothingIsNotDamage() throws {
    let probe = try #require(Probe.folder) + "/CheckpointProbe"
    try withTemporaryFolder { folder in
      let (place, log) = (folder + "/checkpoints", folder + "/log")
      let store = CheckpointStore(folder: place)
      for step in [1, 2] {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      let files = [1, 2].map { store.path(ofStep: $0) + "/checkpoint.h5" }
      let one = try Self.runWithBadSectors(in: [files[1]], log: log, [probe, place, "newest"])
      #expect(one.status == 0 && one.output == "1\n", "\(one)")
      let all = try Self.runWithBadSectors(in: files, log: log, [probe, place, "newest"])
      #expect(all.status == ExitCode.inputOutput.rawValue, "\(all)")
      // One that is damaged does not make the other one so.
      try damage(store.path(ofStep: 2))
      let mixed = try Self.runWithBadSectors(in: [files[0]], log: log, [probe, place, "newest"])
      #expect(mixed.status == ExitCode.inputOutput.rawValue, "\(mixed)")
      #expect(!mixed.error.contains("move the folder away"))
    }
  }

  @Test(.enabled(if: Probe.canTrace, "SKIPPED: needs strace and the right to trace"))
  func inspectingADiskThatGivesNothingIsNotDamage() throws {
    let program = try #require(Probe.folder) + "/lockstep"
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder + "/checkpoints").save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      for options in [["--verify"], []] {
        let found = try Self.runWithBadSectors(
          in: [saved.path + "/manifest.json"], log: folder + "/log",
          [program, "inspect"] + options + [saved.path])
        #expect(found.status == ExitCode.inputOutput.rawValue, "\(options): \(found)")
      }
      try FileSystem.remove(saved.path + "/manifest.json")
      let report = try VerificationReport(of: saved.path)
      #expect(!report.isSound)
      #expect(try Inspection(of: saved.path).verification == .none)
    }
  }
}
