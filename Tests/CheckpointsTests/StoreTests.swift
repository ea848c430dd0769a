import Checkpoints
import Core
import Foundation
import HDF5
import Layers
import Tensors
import Testing

@Suite struct StoreTests {
  @Test func whatIsSavedComesBackBitByBit() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder + "/checkpoints")
      let (layout, state) = (tinyLayout(), KnownState())
      let saved = try store.save(tinyHeader(step: 12), layout: layout, from: state)
      #expect(saved.path == folder + "/checkpoints/step-000000012")
      let places = [saved.path, saved.path + "/checkpoint.h5", saved.path + "/", folder]
      for place in places + [folder + "/checkpoints/../"] {
        let checkpoint = try Checkpoint.open(place)
        #expect(checkpoint.header == tinyHeader(step: 12))
        #expect(checkpoint.hasMoments)
        #expect(checkpoint.layout.entries.map(\.name) == layout.entries.map(\.name))
        #expect(checkpoint.layout.entries.map(\.shape) == layout.entries.map(\.shape))
        try checkpoint.requireLayout(layout)
        for vector in StateVector.allCases {
          for start in stride(from: 0, through: layout.count, by: 3) {
            for end in start...layout.count {
              let expected = state.values(start..<end, of: vector)
              #expect(try bits(checkpoint.values(start..<end, of: vector)) == bits(expected))
            }
          }
        }
      }
    }
  }

  /// A copy that somebody keeps is no checkpoint of the run; but if it is all there is, to begin
  /// again without a word would throw it away.
  @Test(arguments: ["best", "step-12"]) func aLoneCheckpointOfAnotherNameIsNamed(
    name: String
  ) throws {
    try withTemporaryFolder { folder in
      let place = folder + "/run/checkpoints"
      let store = CheckpointStore(folder: place)
      let saved = try store.save(tinyHeader(step: 12), layout: tinyLayout(), from: KnownState())
      try FileManager.default.copyItem(atPath: saved.path, toPath: "\(place)/\(name)")
      #expect(try store.newestVerified { _ in }?.path == saved.path)
      try FileSystem.remove(saved.path)
      let found = [
        failure { _ = try store.newestVerified { _ in } },
        failure { _ = try store.newest(1) },
        failure { _ = try Checkpoint.open(folder + "/run") },
        failure { _ = try Inspection(of: folder + "/run") },
        failure { _ = try Comparison(of: folder + "/run", and: saved.path) },
      ]
      for found in found {
        #expect(found?.exitCode == .badData)
        let words = "but \(name); rename that to step-000000012 to go on from it"
        #expect(found?.message.contains(words) == true, "\(found?.message ?? "none")")
      }
      #expect(try Checkpoint.open("\(place)/\(name)").header.step == 12)
      try FileManager.default.moveItem(atPath: "\(place)/\(name)", toPath: saved.path)
      #expect(try store.newestVerified { _ in }?.path == saved.path)
      // What a writer has begun and nobody has finished is none.
      try FileManager.default.moveItem(atPath: saved.path, toPath: place + "/.tmp-step-12")
      #expect(try store.newestVerified { _ in } == nil)
    }
  }

  @Test func tensorsAcrossPiecesComeBackBitByBit() throws {
    try withTemporaryFolder { folder in
      var layout = ParameterLayout()
      layout.append("a", [3], .constant(0))
      layout.append("b", [1025, 1031], .constant(0))
      layout.append("none", [0, 4], .constant(0))
      layout.append("c", [17], .constant(0))
      let state = KnownState()
      let store = CheckpointStore(folder: folder)
      let saved = try store.save(tinyHeader(step: 1), layout: layout, from: state)
      let checkpoint = try Checkpoint(folder: saved.path)
      for vector in StateVector.allCases {
        #expect(
          try bits(checkpoint.values(of: vector))
            == bits(state.values(0..<layout.count, of: vector)))
      }
      // libhdf5 sees the same tensor where we wrote it.
      let file = try StoredFile.open(saved.path + "/checkpoint.h5")
      let range = layout.entries[1].range
      #expect(
        try bits(file.read("/optimizer/second_moment/b"))
          == bits(state.values(range, of: .secondMoment)))
    }
  }

  @Test func equalStateGivesEqualBytes() throws {
    try withTemporaryFolder { folder in
      let saved = try ["/one", "/two"].map {
        try CheckpointStore(folder: folder + $0).save(
          tinyHeader(step: 3), layout: tinyLayout(), from: KnownState())
      }
      for name in ["/checkpoint.h5", "/manifest.json"] {
        #expect(
          try FileSystem.readAll(saved[0].path + name, limit: 1 << 24)
            == FileSystem.readAll(saved[1].path + name, limit: 1 << 24))
      }
    }
  }

  @Test func aSourceThatFailsLeavesNothing() throws {
    try withTemporaryFolder { folder in
      for pull in 0..<3 {
        let found = failure {
          _ = try CheckpointStore(folder: folder + "/a").save(
            tinyHeader(step: 2), layout: tinyLayout(), from: BrokenState(failAt: pull))
        }
        #expect(found?.message == "the partner is gone")
        #expect(try FileSystem.names(in: folder + "/a") == [])
      }
      // A file stands where the folder should be.
      try FileSystem.writeAtomically([1], to: folder + "/b")
      let found = failure {
        _ = try CheckpointStore(folder: folder + "/b").save(
          tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      }
      #expect(found?.exitCode == .cannotCreate)
      #expect(found?.message.contains(folder + "/b: cannot create the folder") == true)
    }
  }

  @Test func whatAKilledWriterLeftIsIgnoredAndThenRemoved() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      let saved = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      let left = folder + "/.tmp-step-2"
      try FileManager.default.copyItem(atPath: saved.path, toPath: left)
      try FileSystem.remove(left + "/manifest.json")
      var reports: [String] = []
      #expect(try store.newestVerified { reports.append($0) }?.header.step == 1)
      #expect(reports.isEmpty)
      #expect(try store.steps == [1])
      _ = try store.save(tinyHeader(step: 2), layout: tinyLayout(), from: KnownState())
      #expect(try FileSystem.names(in: folder) == ["step-000000001", "step-000000002"])
    }
  }

  @Test func aCheckpointVerifiedElsewhereMustBeThatOne() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      let first = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      let second = try store.save(tinyHeader(step: 2), layout: tinyLayout(), from: KnownState())
      let digest = try Checkpoint(folder: first.path).digest
      #expect(try Checkpoint(folder: first.path, verifiedElsewhere: digest).header.step == 1)
      let found = failure { _ = try Checkpoint(folder: second.path, verifiedElsewhere: digest) }
      #expect(found?.exitCode == .badData)
    }
  }

  @Test func savingAStepAgainReplacesIt() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for salt in [1, 2] as [UInt32] {
        let saved = try store.save(
          tinyHeader(step: 5), layout: tinyLayout(), from: KnownState(salt: salt))
        let values = try Checkpoint(folder: saved.path).values(of: .parameters)
        #expect(values == KnownState(salt: salt).values(0..<values.count, of: .parameters))
      }
      #expect(try FileSystem.names(in: folder) == ["step-000000005"])
    }
  }

  @Test func whatSomebodyPutIntoAStepsFolderOutlivesItsReplacement() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      func save() throws {
        _ = try store.save(tinyHeader(step: 5), layout: tinyLayout(), from: KnownState())
      }
      try save()
      let path = store.path(ofStep: 5)
      try FileSystem.createFolder(path + "/plots")
      for name in ["/notes.txt", "/plots/a.png"] {
        try FileSystem.writeAtomically([1], to: path + name)
      }
      try save()
      // A writer was killed after the exchange: the old folder has the name of the draft.
      try FileSystem.createFolder(folder + "/.tmp-step-000000005-launch-1")
      try FileSystem.writeAtomically(
        [2], to: folder + "/.tmp-step-000000005-launch-1/late.txt")
      try save()
      #expect(
        try FileSystem.names(in: path)
          == ["checkpoint.h5", "late.txt", "manifest.json", "notes.txt", "plots"])
      #expect(try FileSystem.names(in: path + "/plots") == ["a.png"])
      #expect(try FileSystem.names(in: folder) == ["step-000000005"])
      _ = try Checkpoint(folder: path)
    }
  }

  @Test func aForgottenLaunchCannotPublish() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      _ = try store.save(
        tinyHeader(step: 2, incarnation: 3), layout: tinyLayout(), from: KnownState())
      let found = failure {
        _ = try store.save(
          tinyHeader(step: 3, incarnation: 2), layout: tinyLayout(), from: KnownState())
      }
      #expect(found?.message.contains("was saved by launch 3") == true)
      #expect(try store.steps == [2])
    }
  }

  /// Saves with another launch's save in between: after the draft, before the publication.
  private struct Overtaken: StateSource {
    let store: CheckpointStore

    func read(
      _ range: Range<Int>, of vector: StateVector, into destination: Vector
    ) throws(Failure) {
      destination.fill(1)
      guard vector == .secondMoment else { return }
      _ = try store.save(
        tinyHeader(step: 1, incarnation: 5), layout: tinyLayout(), from: KnownState())
    }
  }

  @Test func aLaunchThatIsOvertakenWhileItWritesCannotPublish() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      let found = failure {
        _ = try store.save(
          tinyHeader(step: 9, incarnation: 4), layout: tinyLayout(),
          from: Overtaken(store: store))
      }
      // The later launch has removed the draft, or the fence holds: either way nothing appears.
      #expect(found != nil)
      #expect(try store.steps == [1])
      let names = try FileSystem.names(in: folder)
      #expect(names == ["step-000000001"])
    }
  }

  @Test func theDraftOfALaterLaunchStays() throws {
    try withTemporaryFolder { folder in
      let names = [
        ".tmp-step-000000007-launch-2", ".tmp-step-000000007-launch-3", ".tmp-whatever",
      ]
      for name in names { try FileSystem.createFolder(folder + "/" + name) }
      _ = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1, incarnation: 2), layout: tinyLayout(), from: KnownState())
      #expect(
        try FileSystem.names(in: folder) == [".tmp-step-000000007-launch-3", "step-000000001"])
    }
  }

  @Test func whatAForgottenLaunchPublishedIsNotContinued() throws {
    try withTemporaryFolder { folder in
      // Published before the later launch had a checkpoint of its own.
      let store = CheckpointStore(folder: folder)
      for (step, incarnation) in [(10, 1), (20, 1), (30, 1), (15, 2)] {
        _ = try store.save(
          tinyHeader(step: step, incarnation: incarnation), layout: tinyLayout(),
          from: KnownState())
      }
      var reports: [String] = []
      #expect(try store.newestVerified { reports.append($0) }?.header.step == 15)
      #expect(reports.count == 2)
      #expect(reports.allSatisfy { $0.contains("a later launch has gone on") })
      try store.retain(RetentionPolicy(newest: 5))
      #expect(try store.steps == [10, 15])
    }
  }

  @Test func retentionKeepsTheNewestAndNeverFewerThanTwoThatVerify() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in 1...6 {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      try store.retain(RetentionPolicy(newest: 4))
      #expect(try store.steps == [3, 4, 5, 6])
      try damage(store.path(ofStep: 6))
      try damage(store.path(ofStep: 4))
      // 6 and 4 do not count, so 3 must stay beside 5.
      try CheckpointStore(folder: folder).retain(RetentionPolicy(newest: 1))
      #expect(try store.steps == [3, 4, 5, 6])
      _ = try store.save(tinyHeader(step: 7), layout: tinyLayout(), from: KnownState())
      try CheckpointStore(folder: folder).retain(RetentionPolicy(newest: 0))
      #expect(try store.steps == [5, 6, 7])
      #expect(try FileSystem.names(in: folder).count == 3)
    }
  }

  @Test func aRunWithoutCheckpointsHasNone() throws {
    try withTemporaryFolder { folder in
      let newest = try CheckpointStore(folder: folder + "/absent").newestVerified { _ in }
      #expect(newest?.path == nil)
    }
  }

  @Test func whatAKilledSaveLeftInSharedMemoryIsRemovedOnceItIsOld() throws {
    try #require(access("/dev/shm", W_OK) == 0)
    let paths = ["old", "new"].map { "/dev/shm/lockstep-skeleton-0-\($0)-\(UUID().uuidString).h5" }
    defer { for path in paths { unlink(path) } }
    for path in paths { try FileSystem.writeAtomically([1], to: path) }
    let hourAgo = Date.now.addingTimeInterval(-3600)
    try FileManager.default.setAttributes([.modificationDate: hourAgo], ofItemAtPath: paths[0])
    try withTemporaryFolder { folder in
      _ = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
    }
    #expect(paths.map(FileSystem.exists) == [false, true])
  }

  @Test func h5dumpReadsACheckpoint() throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/h5dump")
      process.arguments = ["-H", saved.path + "/checkpoint.h5"]
      let pipe = Pipe()
      process.standardOutput = pipe
      try process.run()
      let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      for name in ["second_moment", "layer_00", "SIMPLE { ( 7, 5 ) / ( 7, 5 ) }", "H5T_IEEE_F32LE"]
      {
        #expect(text.contains(name))
      }
    }
  }
}

/// Flips one bit in the middle of a checkpoint's data.
func damage(_ folder: String) throws {
  let path = folder + "/checkpoint.h5"
  var bytes = try FileSystem.readAll(path, limit: 1 << 30)
  bytes[bytes.count / 2] ^= 4
  try FileSystem.writeAtomically(bytes, to: path)
}
