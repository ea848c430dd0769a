import Checkpoints
import Core
import Foundation
import Testing

/// What a run finds out about saving before its first step.
@Suite struct RehearsalTests {
  @Test func aRehearsalLeavesNothing() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      let rehearsal = try store.beginRehearsal(incarnation: 2)
      try rehearsal.takePart()
      try store.end(rehearsal, incarnation: 2)
      #expect(try FileSystem.names(in: folder + "/checkpoints") == [])
    }
  }

  @Test func anotherFolderOrNoneIsNoticed() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      let rehearsal = try store.beginRehearsal(incarnation: 1)
      let other = Rehearsal(folder: rehearsal.folder, content: "7\n")
      #expect(failure { try other.takePart() }?.exitCode == .inputOutput)
      store.abandon(rehearsal)
      let found = failure { try rehearsal.takePart() }
      #expect(found?.exitCode == .inputOutput)
      #expect(found?.message.contains("one folder on all hosts") == true)
    }
  }

  @Test func whatAKilledOneLeftTheNextSaveRemoves() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      _ = try store.beginRehearsal(incarnation: 1)
      _ = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      #expect(try FileSystem.names(in: folder) == ["step-000000001"])
    }
  }

  @Test func theLatestLaunchIsOfTheRunThatGoesOn() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      #expect(try store.newestLaunch() == nil)
      for (step, incarnation, run) in [(1, 9, "b"), (2, 3, "a"), (3, 2, "a")] {
        let header = tinyHeader(step: step, incarnation: incarnation, run: run)
        if step == 3 {
          // The save itself would refuse it: made elsewhere and copied.
          let elsewhere = CheckpointStore(folder: folder + "-elsewhere")
          let saved = try elsewhere.save(header, layout: tinyLayout(), from: KnownState())
          try FileSystem.rename(saved.path, to: store.path(ofStep: 3))
          try FileSystem.remove(folder + "-elsewhere")
        } else {
          _ = try store.save(header, layout: tinyLayout(), from: KnownState())
        }
      }
      let newest = try #require(try store.newestLaunch())
      #expect(newest.incarnation == 3 && newest.path == store.path(ofStep: 2))
    }
  }

  /// The move to its place fails, when all has been written: as where something is mounted there.
  @Test(.enabled(if: Probe.canTrace, "SKIPPED: needs strace and the right to trace"))
  func aCheckpointThatCannotBeMovedStaysWhole() throws {
    let probe = try #require(Probe.folder) + "/CheckpointProbe"
    try withTemporaryFolder { folder in
      let place = folder + "/checkpoints"
      let faults = ["-e", "inject=renameat2:error=EBUSY", "-e", "inject=rename:error=EBUSY"]
      let tracer = ["strace", "-f", "-qq", "-o", folder + "/log", "-e", "signal=none"]
      let ending = try Probe.run(tracer + faults + [probe, place, "3"])
      let draft = place + "/.tmp-step-000000003-launch-1"
      #expect(ending.status == ExitCode.inputOutput.rawValue, "\(ending)")
      #expect(ending.error.contains("whole in \(draft)"), "\(ending)")
      #expect(try Checkpoint(folder: draft).header.step == 3)
      #expect(try Probe.run([probe, place, "4"]).status == 0)
      #expect(try FileSystem.names(in: place) == ["step-000000004"])
    }
  }
}
