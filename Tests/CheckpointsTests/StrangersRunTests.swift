import Checkpoints
import Core
import Foundation
import Testing

/// Run directories and checkpoints that somebody else has made, to harm who goes on with them.
@Suite struct StrangersRunTests {
  private func save(_ step: Int, in store: CheckpointStore) throws -> SavedCheckpoint {
    try store.save(tinyHeader(step: step), layout: tinyLayout(), from: KnownState())
  }

  /// Puts bytes in the place of others of the same number, and the digests that fit.
  private func replace(_ old: String, by new: String, in checkpoint: String) throws {
    let file = URL(fileURLWithPath: checkpoint + "/checkpoint.h5")
    var bytes = try Data(contentsOf: file)
    let place = try #require(bytes.firstRange(of: Data(old.utf8)))
    bytes.replaceSubrange(place, with: new.utf8)
    try bytes.write(to: file)
    let url = URL(fileURLWithPath: checkpoint + "/manifest.json")
    let object = try JSONSerialization.jsonObject(with: Data(contentsOf: url))
    var manifest = try #require(object as? [String: Any])
    let blocks = try #require(manifest["blocks"] as? [[String: Any]])
    manifest["blocks"] = try blocks.map { block in
      let start = try #require(block["offset"] as? Int)
      let count = try #require(block["length"] as? Int)
      let digest = Digest(of: Array(bytes[start..<start + count])).description
      return block.merging(["xxh3_128": digest]) { $1 }
    }
    manifest["manifest_digest"] = String(repeating: "0", count: 32)
    let text = String(
      decoding: try JSONSerialization.data(
        withJSONObject: manifest, options: [.sortedKeys, .withoutEscapingSlashes]), as: UTF8.self)
    let sealed = text.replacing(
      String(repeating: "0", count: 32), with: Digest(of: text).description)
    try Data((sealed + "\n").utf8).write(to: url)
  }

  @Test func whatStandsInTheWayOfADraftMovesAside() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for (step, file) in [(1, "theirs"), (2, "checkpoint.h5/theirs")] {
        let draft = folder + "/.tmp-step-00000000\(step)-launch-1"
        try FileSystem.createFolder(draft + "/" + file)
        #expect(try save(step, in: store).path == store.path(ofStep: step))
        #expect(FileSystem.kind(of: draft) == nil)
        #expect(FileSystem.kind(of: draft + ".not-a-draft/" + file) == .folder)
      }
    }
  }

  @Test func nothingIsRemovedWhereTheFolderIsNoLongerTheRuns() throws {
    try withTemporaryFolder { folder in
      let store = CheckpointStore(folder: folder)
      for step in 1...4 { _ = try save(step, in: store) }
      let fenced = CheckpointStore(folder: folder) { () throws(Failure) in
        throw Failure(.inputOutput, "not yours")
      }
      let refusal = failure { try fenced.retain(RetentionPolicy(newest: 2)) }
      #expect(refusal?.message == "not yours")
      #expect(try store.steps == [1, 2, 3, 4])
      #expect(failure { _ = try fenced.beginRehearsal(incarnation: 1) }?.message == "not yours")
      try store.retain(RetentionPolicy(newest: 2))
      #expect(try store.steps == [3, 4])
    }
  }

  @Test func aLinkToTheCheckpointsOfAnotherRunIsNotFollowed() throws {
    try withTemporaryFolder { folder in
      _ = try save(1, in: CheckpointStore(folder: folder + "/other/checkpoints"))
      try FileSystem.createFolder(folder + "/run")
      #expect(symlink("../other/checkpoints", folder + "/run/checkpoints") == 0)
      for read in [
        { _ = try Checkpoint.open(folder + "/run") }, { _ = try Inspection(of: folder + "/run") },
        { _ = try CheckpointStore.folder(ofRun: folder + "/run") },
      ] as [() throws -> Void] {
        let refusal = failure(read)
        #expect(refusal?.exitCode == .badData && refusal?.message.contains("is a link") == true)
      }
      // The run itself may be named by one.
      #expect(symlink("other", folder + "/latest") == 0)
      #expect(try Checkpoint.open(folder + "/latest").header.step == 1)
    }
  }

  @Test func aTensorIsNamedOnce() throws {
    try withTemporaryFolder { folder in
      var layout = tinyLayout()
      layout.append("decoder/scalf", [1], .constant(0))
      let path = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: layout, from: KnownState()
      ).path
      try replace("decoder/scalf", by: "decoder/scalg", in: path)
      // The digests do fit: what is refused is what they are of.
      let missing = failure { _ = try Checkpoint(folder: path) }
      #expect(missing?.message.contains("/parameters/decoder/scalg: there is no such") == true)
      try replace("decoder/scalg", by: "decoder/scale", in: path)
      let refusal = failure { _ = try Checkpoint(folder: path) }
      #expect(refusal?.exitCode == .badData)
      #expect(refusal?.message.contains("names the tensor decoder/scale twice") == true)
    }
  }

  @Test func aTextThatIsNoConfigurationIsComparedAsAWhole() throws {
    try withTemporaryFolder { folder in
      func save(_ name: String, _ yaml: String) throws -> String {
        var header = tinyHeader(step: 4)
        header.configurationYAML = yaml
        return try CheckpointStore(folder: folder + "/" + name).save(
          header, layout: tinyLayout(), from: KnownState()
        ).path
      }
      // Each key in it stands for the names of all groups around it.
      let nested = (0..<300).map { String(repeating: " ", count: $0) + "g\($0):" }
      let keys = (0..<300).map { String(repeating: " ", count: 300) + "k\($0): 1" }
      let made = try save("made", (nested + keys).joined(separator: "\n"))
      let again = try save("again", (nested + keys).joined(separator: "\n"))
      let small = try save("small", "seed: 1\n")
      #expect(try Comparison(of: made, and: again).isIdentical)
      let configuration = try Comparison(of: made, and: small).configuration
      #expect(configuration.map(\.name) == ["configuration"])
      #expect(configuration.first?.first?.hasSuffix("bytes, which are none") == true)
      #expect(configuration.first?.second == "8 bytes")
    }
  }
}
