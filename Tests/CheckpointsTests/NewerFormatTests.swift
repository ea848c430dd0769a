import Checkpoints
import Core
import Foundation
import Testing

/// A checkpoint that a later version of the program has written is nobody's to fall back from.
struct NewerFormatTests {
  /// Gives a checkpoint's manifest another version, sealed with its digest as any version is.
  private func setVersion(_ version: Int, of checkpoint: String) throws {
    let url = URL(fileURLWithPath: checkpoint + "/manifest.json")
    var text = try String(contentsOf: url, encoding: .utf8)
    let field = try #require(text.firstRange(of: /"format_version":\d+/))
    text.replaceSubrange(field, with: "\"format_version\":\(version),\"of_tomorrow\":[1]")
    let digest = try #require(text.firstRange(of: /"manifest_digest":"[0-9a-f]{32}"/))
    func sealed(_ digits: String) -> String {
      text.replacingCharacters(in: digest, with: "\"manifest_digest\":\"\(digits)\"")
    }
    text.removeLast()
    let digits = Digest(of: sealed(String(repeating: "0", count: 32))).description
    try (sealed(digits) + "\n").write(to: url, atomically: false, encoding: .utf8)
  }

  private func contents(of folder: String) throws -> [String: Data] {
    var found: [String: Data] = [:]
    for path in try #require(FileManager.default.enumerator(atPath: folder)) {
      guard let path = path as? String else { continue }
      found[path] = FileManager.default.contents(atPath: folder + "/" + path) ?? Data()
    }
    return found
  }

  @Test func isRefusedAndNothingIsWritten() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in [1, 2] {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      try setVersion(2, of: store.path(ofStep: 2))
      let before = try contents(of: folder)
      let message =
        "\(store.path(ofStep: 2))/manifest.json: has format 2, this Lockstep reads up to 1;"
        + " use a newer Lockstep"
      let expected = Failure(.badData, message)
      #expect(failure { _ = try store.newestVerified { _ in } } == expected)
      #expect(failure { _ = try store.newest(2) } == expected)
      #expect(failure { _ = try store.highestIncarnation() } == expected)
      #expect(failure { try store.retain(RetentionPolicy(newest: 2)) } == expected)
      #expect(failure { _ = try Checkpoint.open(store.path(ofStep: 2)) } == expected)
      for step in [2, 3] {
        let header = tinyHeader(step: step, incarnation: 2)
        #expect(
          failure { _ = try store.save(header, layout: tinyLayout(), from: KnownState()) }
            == expected)
      }
      #expect(try contents(of: folder) == before)
      // The older one is what it was, for whoever names it.
      #expect(try Checkpoint.open(store.path(ofStep: 1)).header.step == 1)
    }
  }

  @Test func aDamagedVersionIsDamage() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in [1, 2] {
        _ = try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      let url = URL(fileURLWithPath: store.path(ofStep: 2) + "/manifest.json")
      let text = try String(contentsOf: url, encoding: .utf8)
      try text.replacing("\"format_version\":1", with: "\"format_version\":3")
        .write(to: url, atomically: false, encoding: .utf8)
      #expect(try store.newestVerified { _ in }?.header.step == 1)
    }
  }

  /// Whoever edits tensors in place changes neither the size nor the manifest.
  @Test func whatSomebodyHasEditedMovesAside() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      func save(_ step: Int) throws -> SavedCheckpoint {
        try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
      }
      _ = try save(1)
      #expect(try save(2).movedAside == nil)
      #expect(try save(2).movedAside == nil)
      let path = store.path(ofStep: 2)
      for aside in ["\(path).not-verified", "\(path).not-verified-2"] {
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path + "/checkpoint.h5"))
        let end = try handle.seekToEnd()
        try handle.seek(toOffset: end - 8)
        try handle.write(contentsOf: Data("edited!!".utf8))
        try handle.close()
        let edited = try contents(of: path)
        #expect(try save(2).movedAside == aside)
        #expect(try contents(of: aside) == edited)
        #expect(try Checkpoint(folder: path).header.step == 2)
      }
      try store.retain(RetentionPolicy(newest: 2))
      #expect(try store.steps == [1, 2])
    }
  }
}
