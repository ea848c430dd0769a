import Checkpoints
import Core
import Foundation
import Layers
import Testing

@Suite struct DamageTests {
  @Test func everyBitFlipAndTruncationIsNoticedBeforeAWeightIsUsed() throws {
    try withTemporaryFolder { folder in
      let saved = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
      for name in ["/checkpoint.h5", "/manifest.json"] {
        let path = saved.path + name
        let whole = try FileSystem.readAll(path, limit: 1 << 24)
        let descriptor = open(path, O_RDWR)
        defer { close(descriptor) }
        // A prime stride meets every bit number and, over the file, every structure.
        for bit in stride(from: 0, to: whole.count * 8, by: name == "/manifest.json" ? 41 : 1193) {
          var byte = whole[bit / 8] ^ UInt8(1 << (bit % 8))
          #expect(pwrite(descriptor, &byte, 1, off_t(bit / 8)) == 1)
          let found = failure { _ = try Checkpoint(folder: saved.path) }
          #expect(found?.exitCode == .badData, "bit \(bit) of \(name)")
          #expect(found?.message.contains("\n") == false)
          byte = whole[bit / 8]
          #expect(pwrite(descriptor, &byte, 1, off_t(bit / 8)) == 1)
        }
        for count in stride(from: 0, to: whole.count, by: max(1, whole.count / 199)) {
          #expect(ftruncate(descriptor, off_t(count)) == 0)
          #expect(failure { _ = try Checkpoint(folder: saved.path) }?.exitCode == .badData)
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
        #expect(found?.exitCode == .badData)
        #expect(found?.message.contains("/state has lanes \(lanes)") == true)
      }
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
