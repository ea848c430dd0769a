import Checkpoints
import Core
import Foundation
import Layers
import Testing

@Suite struct DamageTests {
  @Test func everyByteFlippedAndEveryTruncationIsNoticedBeforeAWeightIsUsed() throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      for name in ["/checkpoint.h5", "/manifest.json"] {
        let path = saved.path + name
        let whole = try FileSystem.readAll(path, limit: 1 << 24)
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        for index in whole.indices {
          var byte = whole[index] ^ UInt8(1 << (index % 8))
          #expect(pwrite(descriptor, &byte, 1, off_t(index)) == 1)
          let found = failure { _ = try Checkpoint(folder: saved.path) }
          #expect(found?.exitCode == .badData, "byte \(index) of \(name)")
          byte = whole[index]
          #expect(pwrite(descriptor, &byte, 1, off_t(index)) == 1)
        }
        for count in whole.indices.reversed() {
          #expect(ftruncate(descriptor, off_t(count)) == 0)
          let found = failure { _ = try Checkpoint(folder: saved.path) }
          #expect(found?.exitCode == .badData, "\(count) bytes of \(name)")
        }
        try FileSystem.writeAtomically(whole + [0], to: path)
        #expect(failure { _ = try Checkpoint(folder: saved.path) }?.exitCode == .badData)
        try FileSystem.writeAtomically(whole, to: path)
      }
      _ = try Checkpoint(folder: saved.path)
    }
  }

  @Test func theNewestThatVerifiesIsOpenedWithALineForEachThatDoesNot() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in [10, 20, 30, 40] {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      try damage(store.path(ofStep: 40))
      try FileSystem.remove(store.path(ofStep: 30) + "/manifest.json")
      var reports: [String] = []
      #expect(try store.newestVerified { reports.append($0) }?.header.step == 20)
      #expect(reports.count == 2)
      #expect(reports[0].contains("step-000000040/checkpoint.h5: is damaged in bytes"))
      #expect(reports[1].contains("step-000000030: has no manifest.json"))
      try damage(store.path(ofStep: 20))
      try damage(store.path(ofStep: 10))
      let found = failure { _ = try store.newestVerified { _ in } }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("none of its 4 checkpoints verifies") == true)
    }
  }

  /// To read 58 MB of it took a minute and a half.
  @Test func aManifestLargerThanAnyIsRefusedBeforeItIsRead() throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      #expect(truncate(saved.path + "/manifest.json", 8 << 20 + 1) == 0)
      let found = failure { _ = try Checkpoint(folder: saved.path) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("at most 8388608 were expected") == true)
    }
  }

  @Test func countsThatNoRunReachesAreRefused() throws {
    try withTemporaryFolder { folder in
      for (index, lanes) in [-1, Int.min, Int.max, 1 << 53].enumerated() {
        var header = tinyHeader(step: index)
        header.lanes = lanes
        let found = failure {
          let saved = try CheckpointStore(folder: folder).save(
            header, layout: tinyLayout(), from: KnownState(), hasMoments: false)
          _ = try Checkpoint.open(saved.path)
        }
        // Who writes reads back as every reader will.
        #expect(found?.exitCode == .inputOutput)
        #expect(found?.message.contains("/state has lanes \(lanes)") == true)
      }
    }
  }

  @Test func aTokenizerWithoutBoundsIsRefusedBeforeItIsRead() throws {
    try withTemporaryFolder { folder in
      var header = tinyHeader(step: 1)
      header.tokenizerModel = [UInt8](repeating: 1, count: 64 << 20 + 1)
      let found = failure {
        _ = try CheckpointStore(folder: folder).save(
          header, layout: tinyLayout(), from: KnownState(), hasMoments: false)
      }
      // Who writes reads back as every reader will.
      #expect(found?.exitCode == .inputOutput)
      #expect(found?.message.contains("has a tokenizer of 67108865 bytes") == true)
    }
  }

  @Test(arguments: [
    ["lockstep-checkpoint-manifest", "lockstep-checkpoint", "is not the manifest"],
    [#""format_version":1"#, #""format_version":0"#, "is not the manifest"],
    [#""format_version":1"#, #""format_version":2"#, "use a newer Lockstep"],
    [#""run":"run-a""#, #""run":"run-b""#, "different checkpoints"],
    [#""dataset_digest":"abc""#, #""dataset_digest":"abd""#, "different checkpoints"],
    [#""validation_loss":2.5"#, #""validation_loss":1.5"#, "different checkpoints"],
    [#""configuration_digest":"#, #""configuration_digest":"0","x":"#, "different checkpoints"],
    [#""tokenizer_digest":"#, #""tokenizer_digest":"0","x":"#, "different checkpoints"],
  ])
  func aManifestThatIsWholeButOfSomethingElseIsRefused(change: [String]) throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1, validationLoss: 2.5), layout: tinyLayout(), from: KnownState())
      let path = saved.path + "/manifest.json"
      var text = String(decoding: try FileSystem.readAll(path, limit: 1 << 24), as: UTF8.self)
      let place = try #require(text.firstRange(of: change[0]))
      text.replaceSubrange(place, with: change[1])
      // Sealed again, as whoever made it would.
      let key = #""manifest_digest":""#
      let start = try #require(text.firstRange(of: key)).upperBound
      let seal = start..<text.index(start, offsetBy: 32)
      text.replaceSubrange(seal, with: String(repeating: "0", count: 32))
      text.replaceSubrange(seal, with: Digest(of: String(text.dropLast())).description)
      try FileSystem.writeAtomically(Array(text.utf8), to: path)
      let found = failure { _ = try Checkpoint(folder: saved.path) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains(change[2]) == true, "\(found?.message ?? "opened")")
    }
  }

  @Test func filesOfTwoGenerationsAreRefused() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in [1, 2, 3] {
        _ = try store.save(
          tinyHeader(step: step), layout: tinyLayout(), from: KnownState(salt: UInt32(step)))
      }
      let paths = [1, 2, 3].map(store.path(ofStep:))
      func swap(_ one: String, _ other: String) throws {
        let bytes = try FileSystem.readAll(one, limit: 1 << 24)
        try FileSystem.writeAtomically(try FileSystem.readAll(other, limit: 1 << 24), to: one)
        try FileSystem.writeAtomically(bytes, to: other)
      }
      // Data of 2 under the manifest of 3: same size, other bytes.
      try swap(paths[2] + "/checkpoint.h5", paths[1] + "/checkpoint.h5")
      var reports: [String] = []
      #expect(try store.newestVerified { reports.append($0) }?.header.step == 1)
      #expect(reports.count == 2)
      // Both files of 2 under the name of 3: whole, but not what the name says.
      try swap(paths[2] + "/manifest.json", paths[1] + "/manifest.json")
      reports = []
      #expect(try store.newestVerified { reports.append($0) }?.header.step == 1)
      #expect(reports.first?.contains("holds step 2, not the one of its name") == true)
    }
  }

  @Test func linksPipesAndStrangersAreRefusedWithoutWaiting() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      _ = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      let sound = store.path(ofStep: 1)
      let cases: [(String) throws -> Void] = [
        { path in
          for name in ["/checkpoint.h5", "/manifest.json"] {
            try FileManager.default.createSymbolicLink(
              atPath: path + name, withDestinationPath: sound + name)
          }
        },
        { path in
          #expect(mkfifo(path + "/manifest.json", 0o600) == 0)
          #expect(mkfifo(path + "/checkpoint.h5", 0o600) == 0)
        },
        { path in
          try FileManager.default.copyItem(
            atPath: sound + "/manifest.json", toPath: path + "/manifest.json")
          #expect(mkfifo(path + "/checkpoint.h5", 0o600) == 0)
        },
        { path in
          try FileSystem.createFolder(path + "/checkpoint.h5")
          try FileSystem.createFolder(path + "/manifest.json")
        },
        { path in
          try FileSystem.writeAtomically([], to: path + "/checkpoint.h5")
          try FileSystem.writeAtomically([], to: path + "/manifest.json")
        },
        { path in
          try FileManager.default.removeItem(atPath: path)
          try FileManager.default.createSymbolicLink(
            atPath: path, withDestinationPath: sound)
        },
      ]
      for (index, make) in cases.enumerated() {
        let path = store.path(ofStep: 2)
        try FileSystem.createFolder(path)
        try make(path)
        var reports: [String] = []
        #expect(
          try store.newestVerified { reports.append($0) }?.header.step == 1, "case \(index)")
        #expect(reports.count == 1, "case \(index): \(reports)")
        try FileSystem.remove(path)
      }
      // What else lies there does not matter.
      try FileSystem.writeAtomically([1], to: sound + "/notes.txt")
      try FileSystem.writeAtomically([1], to: folder + "/step-nonsense")
      #expect(try store.newestVerified { _ in }?.header.step == 1)
    }
  }

  @Test func aFolderThatCannotBeListedIsNotEmpty() throws {
    try withTemporaryFolder { folder in
      // Permissions do not stop root; a file in the place of the folder does.
      let place = folder + "/checkpoints"
      #expect(try CheckpointStore(folder: place).newestVerified { _ in } == nil)
      try FileSystem.writeAtomically([1], to: place)
      let store = CheckpointStore(folder: place)
      #expect(failure { _ = try store.newestVerified { _ in } }?.exitCode == .inputOutput)
      #expect(failure { _ = try store.steps }?.exitCode == .inputOutput)
    }
  }

  @Test func whatIsNoCheckpointIsNamed() throws {
    try withTemporaryFolder { folder in
      #expect(failure { _ = try Checkpoint.open(folder + "/x") }?.exitCode == .missingInput)
      #expect(failure { _ = try Checkpoint.open(folder) }?.exitCode == .badData)
      try FileSystem.createFolder(folder + "/checkpoints")
      let empty = failure { _ = try Checkpoint.open(folder) }
      #expect(empty?.exitCode == .missingInput)
      #expect(empty?.message.hasSuffix("holds no checkpoint yet") == true)
      try FileSystem.writeAtomically([1, 2], to: folder + "/checkpoint.h5")
      #expect(failure { _ = try Checkpoint.open(folder) }?.exitCode == .badData)
    }
  }

  @Test func anotherModelIsNamedByItsFirstDifferentTensor() throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState(), hasMoments: false)
      let checkpoint = try Checkpoint.open(saved.path)
      var larger = ParameterLayout()
      larger.append("embedding/weight", [8, 5], .constant(0))
      let found = failure { try checkpoint.requireLayout(larger) }
      #expect(found?.exitCode == .badData)
      #expect(
        found?.message.contains("embedding/weight has shape [7, 5] where the model has [8, 5]")
          == true)
      var longer = tinyLayout()
      longer.append("decoder/more", [2], .constant(0))
      #expect(
        failure { try checkpoint.requireLayout(longer) }?.message.contains("no tensor decoder/more")
          == true)
      var shorter = ParameterLayout()
      for entry in tinyLayout().entries.dropLast() {
        shorter.append(entry.name, entry.shape, .constant(0))
      }
      #expect(
        failure { try checkpoint.requireLayout(shorter) }?.message.contains("decoder/scale") == true
      )
      #expect(failure { _ = try checkpoint.values(of: .firstMoment) }?.exitCode == .badData)
    }
  }
}
