import Core
import Datasets
import Foundation
import Testing

@Suite final class DatasetTests {
  let scratch = ScratchFolder()

  private func prepared() throws -> String {
    try scratch.prepare("data", .copy(pairs: 200, heldOut: 20))
    return "\(scratch.path)/data"
  }

  /// A folder as it was before there was an index.
  private func preparedWithoutIndex() throws -> String {
    let path = try prepared()
    try scratch.makeVersionOne("data")
    return path
  }

  /// Opens a folder, looks which shards there are, and reads them.
  private func read(_ path: String) throws {
    let dataset = try Dataset(path: path)
    try dataset.folder.requireShardFiles()
    for split in Split.allCases { _ = try dataset.allPairs(split) }
  }

  private func code(_ path: String) -> ExitCode? { failure { try read(path) }?.exitCode }

  @Test func everyMissingFileIsNamed() throws {
    let path = try prepared()
    #expect(code("\(path)-none") == .missingInput)
    for name in [
      "dataset.json", "tokenizer.model", "index.h5", "train-00001.h5", "test-00000.h5",
    ] {
      let bytes = try scratch.bytes("data/\(name)")
      try FileManager.default.removeItem(atPath: "\(path)/\(name)")
      let found = failure { try read(path) }
      #expect(found?.exitCode == .missingInput)
      #expect(found?.message.hasPrefix("\(path)/\(name)") == true)
      _ = try scratch.file("data/\(name)", bytes)
    }
    #expect(code(path) == nil)
  }

  @Test func heldOutTextThatWasChangedIsBadData() throws {
    let path = try prepared()
    let dataset = try Dataset(path: path)
    #expect(try dataset.texts(of: .test).count == dataset.pairCount(of: .test))
    let text = try scratch.bytes("data/test.target.txt")
    _ = try scratch.file("data/test.target.txt", text + Array("one more\n".utf8))
    #expect(failure { _ = try dataset.texts(of: .test) }?.exitCode == .badData)
    #expect(failure { _ = try dataset.texts(of: .training) }?.exitCode == .badData)
    try FileManager.default.removeItem(atPath: "\(path)/valid.source.txt")
    #expect(failure { _ = try dataset.texts(of: .validation) }?.exitCode == .missingInput)
  }

  @Test func truncatedShardsAreBadData() throws {
    let path = try prepared()
    let bytes = try scratch.bytes("data/train-00000.h5")
    for count in [0, 1, bytes.count / 2, bytes.count - 1] {
      _ = try scratch.file("data/train-00000.h5", Array(bytes.prefix(count)))
      #expect(code(path) == .badData)
    }
  }

  @Test func everyFlippedBitOfAShardOrTheIndexIsNoticed() throws {
    let path = try prepared()
    for name in ["valid-00000.h5", "index.h5"] {
      let bytes = try scratch.bytes("data/\(name)")
      for offset in stride(from: 0, to: bytes.count, by: 997) {
        var damaged = bytes
        damaged[offset] ^= 1
        _ = try scratch.file("data/\(name)", damaged)
        #expect(code(path) == .badData)
      }
      _ = try scratch.file("data/\(name)", bytes)
    }
  }

  @Test func shardsAndTokenizersOfAnotherDatasetAreBadData() throws {
    let path = try prepared()
    try scratch.prepare("other", .copy(pairs: 200, heldOut: 20, seed: 8))
    for name in ["train-00000.h5", "tokenizer.model", "dataset.json", "index.h5"] {
      let mine = try scratch.bytes("data/\(name)")
      let theirs = try scratch.bytes("other/\(name)")
      guard mine != theirs else { continue }
      _ = try scratch.file("data/\(name)", theirs)
      #expect(code(path) == .badData, "\(name)")
      _ = try scratch.file("data/\(name)", mine)
    }
    #expect(code(path) == nil)
  }

  /// Replaces words of a description one by one.
  private func expectBadData(_ path: String, _ changes: [(String, String)]) throws {
    let good = String(decoding: try scratch.bytes("data/dataset.json"), as: UTF8.self)
    for (old, new) in changes {
      let changed = good.replacingOccurrences(of: old, with: new)
      #expect(changed != good, "\(old)")
      _ = try scratch.file("data/dataset.json", changed)
      #expect(code(path) == .badData, "\(old) -> \(new)")
    }
    _ = try scratch.file("data/dataset.json", good)
    #expect(code(path) == nil)
  }

  @Test func descriptionsThatContradictThemselvesAreBadData() throws {
    try expectBadData(
      try preparedWithoutIndex(),
      [
        ("lockstep-dataset", "something-else"),
        ("\"format_version\" : 1", "\"format_version\" : 2"),
        ("\"format_version\" : 1", "\"format_version\" : 3"),
        ("\"pairs\"", "\"pears\""), ("\"pairs\" : ", "\"pairs\" : 1"),
        ("train-0", "../train-0"), ("\"train\"", "\"brain\""), ("{", "["),
        // Numbers whose sum no machine holds.
        ("\"pairs\" : ", "\"pairs\" : 9000000000000000000, \"rest\" : "),
        ("\"source_tokens\" : ", "\"source_tokens\" : -9000000000000000000, \"rest\" : "),
        ("\"tokenizer.model\"", "\".\""),
        ("\"vocabulary_size\" : ", "\"vocabulary_size\" : 1"),
        ("\"byte_count\" : ", "\"byte_count\" : -"),
      ])
  }

  @Test func descriptionsOfAnIndexThatContradictThemselvesAreBadData() throws {
    let most = "9000000000000000000"
    try expectBadData(
      try prepared(),
      [
        ("lockstep-dataset", "something-else"),
        ("\"format_version\" : 2", "\"format_version\" : 1"),
        ("\"format_version\" : 2", "\"format_version\" : 3"),
        ("\"pairs\"", "\"pears\""), ("\"source\",", "\"sauce\","),
        ("\"items\" : ", "\"items\" : 1"), ("\"items\" : ", "\"items\" : \(most), \"rest\" : "),
        ("\"shards\" : ", "\"shards\" : 1"), ("\"shards\" : ", "\"shards\" : -"),
        ("\"shards\" : ", "\"shards\" : \(most), \"rest\" : "),
        ("\"tokens\" : [", "\"tokens\" : [1, "), ("\"train\"", "\"brain\""), ("{", "["),
        ("\"file\" : \"index.h5\"", "\"file\" : \"../index.h5\""),
        ("\"tokenizer.model\"", "\".\""), ("\"content_digest\" : \"", "\"content_digest\" : \"x"),
        ("\"vocabulary_size\" : ", "\"vocabulary_size\" : 1"),
        // The index: its size, its arrays.
        ("\"byte_count\" : ", "\"byte_count\" : 1"), ("/train/shards/items", "/train/items"),
        ("\"byte_offset\" : ", "\"byte_offset\" : -"),
        ("\"byte_offset\" : ", "\"byte_offset\" : 9"),
        ("\"byte_offset\" : ", "\"byte_offset\" : \(most), \"rest\" : "),
        ("\"type\" : \"int64\"", "\"type\" : \"int32\""),
        ("\"shape\" : [", "\"shape\" : [\(most), "),
        ("\"shape\" : [", "\"shape\" : [-1, "), ("\"shape\" : [", "\"shape\" : [], \"rest\" : ["),
      ])
  }

  @Test func filesLargerThanAnyDatasetHasAreRefusedBeforeTheyAreRead() throws {
    let path = try prepared()
    for (name, limit) in [
      ("dataset.json", 8 << 20), ("tokenizer.model", 16 << 20), ("index.h5", 256 << 20),
    ] {
      let whole = try scratch.bytes("data/\(name)")
      try #require(truncate("\(path)/\(name)", limit + 1) == 0)
      let found = failure { _ = try Dataset(path: path) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("at most \(limit) were expected") == true)
      _ = try scratch.file("data/\(name)", whole)
    }
    #expect(code(path) == nil)
  }

  /// Each line would take memory of its own.
  @Test func aTextOfMoreLinesThanPairsIsRefused() throws {
    let path = try prepared()
    let old = try scratch.bytes("data/test.source.txt")
    let new = old + [UInt8(ascii: "\n")]
    _ = try scratch.file("data/test.source.txt", new)
    let good = String(decoding: try scratch.bytes("data/dataset.json"), as: UTF8.self)
    let made = good.replacing("\(Digest(of: old))", with: "\(Digest(of: new))")
    _ = try scratch.file("data/dataset.json", made)
    let dataset = try Dataset(path: path)
    let count = dataset.pairCount(of: .test)
    let found = failure { _ = try dataset.texts(of: .test) }
    #expect(found?.exitCode == .badData)
    #expect(
      found?.message.hasPrefix("\(path)/test.source.txt: expected \(count) lines") == true
        && found?.message.hasSuffix("found \(count + 1)") == true)
  }

  @Test func linksOutOfTheFolderAreNotFollowed() throws {
    let path = try prepared()
    for name in ["dataset.json", "tokenizer.model", "index.h5", "train-00000.h5"] {
      let outside = "\(scratch.path)/outside-\(name)"
      try FileManager.default.moveItem(atPath: "\(path)/\(name)", toPath: outside)
      try FileManager.default.createSymbolicLink(
        atPath: "\(path)/\(name)", withDestinationPath: outside)
      #expect(code(path) == .badData, "\(name)")
      try FileManager.default.removeItem(atPath: "\(path)/\(name)")
      try FileManager.default.moveItem(atPath: outside, toPath: "\(path)/\(name)")
    }
    #expect(code(path) == nil)
  }

  /// A pipe would keep its reader for ever.
  @Test func aTextThatIsAPipeIsNotRead() throws {
    let path = try prepared()
    let dataset = try Dataset(path: path)
    let text = "\(path)/test.source.txt"
    try FileManager.default.removeItem(atPath: text)
    try #require(mkfifo(text, 0o600) == 0)
    #expect(failure { _ = try dataset.texts(of: .test) }?.exitCode == .badData)
  }

  @Test func theDigestIsThatOfTheContent() throws {
    let path = try prepared()
    try scratch.prepare("same", .copy(pairs: 200, heldOut: 20))
    try scratch.prepare("other", .copy(pairs: 200, heldOut: 20, seed: 8))
    let digest = try Dataset(path: path).digest
    #expect(try Dataset(path: "\(scratch.path)/same").digest == digest)
    #expect(try Dataset(path: "\(scratch.path)/other").digest != digest)
  }
}
