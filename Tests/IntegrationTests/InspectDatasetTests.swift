import Core
import Datasets
import Foundation
import Testing

/// What `inspect` says of datasets.
@Suite struct InspectDatasetTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func object(_ arguments: [String]) throws -> [String: Any] {
    let outcome = try scratch.run(["inspect", "--json"] + arguments)
    let value = try JSONSerialization.jsonObject(with: Data(outcome.output.utf8))
    return try #require(value as? [String: Any], "\(outcome.error)")
  }

  @Test func aFolderIsShownWithCountsLengthsSamplesAndOrigin() throws {
    let data = try CopyData.path
    let dataset = try Dataset(path: data)
    let outcome = try scratch.run(["inspect", data])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let count = dataset.pairCount(of: .training)
    let grouped = "\(count / 1000),\("\(1000 + count % 1000)".dropFirst())"
    for word in [
      "\(dataset.digest)", "\(dataset.contentDigest)", "copy task: random symbols", "generated",
      "symbols to symbols", "36 pieces", grouped, "0.000 %", "##", "10 of train-00000.h5",
    ] {
      #expect(outcome.output.contains(word), "\(word): \(outcome.output)")
    }
    let width = outcome.output.split(separator: "\n").dropFirst().map(\.count).max()
    #expect(width ?? 0 <= 100)

    let json = try object([data])
    #expect(json["content_digest"] as? String == "\(dataset.contentDigest)")
    let bars = try #require(json["lengths"] as? [[String: Any]])
    let items = bars.reduce(0) { $0 + ($1["items"] as? Int ?? 0) }
    #expect(items == dataset.pairCount(of: .training))
    let samples = try #require(json["samples"] as? [[String]])
    let content = try dataset.content(shard: 0, of: .training)
    for (number, sample) in samples.enumerated() {
      let item = number * content.itemCount / samples.count
      let range = content.source.offsets[item]..<content.source.offsets[item + 1]
      #expect(sample[0] == (try dataset.tokenizer.decode(Array(content.source.tokens[range]))))
      #expect(sample[0] == sample[1])
    }
    #expect(samples.count == 10)
  }

  @Test func aShardIsShownByItself() throws {
    let data = try CopyData.path
    let dataset = try Dataset(path: data)
    let json = try object([data + "/valid-00000.h5"])
    let parts = try #require(json["parts"] as? [[String: Any]])
    #expect(parts.count == 1 && parts[0]["name"] as? String == "valid")
    #expect(parts[0]["items"] as? Int == dataset.pairCount(of: .validation))
    #expect(json["samples_of"] as? String == "valid-00000.h5")
    let digest = "\(dataset.index[.validation].digests[0])"
    #expect(json["digest"] as? String == digest)
    // Without its folder it is an HDF5 file.
    let alone = scratch.path + "/alone.h5"
    try FileManager.default.copyItem(atPath: data + "/valid-00000.h5", toPath: alone)
    let outcome = try scratch.run(["inspect", alone])
    #expect(outcome.exitCode == 0 && outcome.output.contains("/source/tokens"))
  }

  @Test func everyByteIsVerified() throws {
    let data = try CopyData.copied(into: scratch)
    let dataset = try Dataset(path: data)
    let json = try object(["--verify", data])
    #expect(json["sound"] as? Bool == true)
    #expect(json["digest"] as? String == "\(dataset.digest)")
    #expect(json["content_digest"] as? String == "\(dataset.contentDigest)")
    let shard = try object(["--verify", data + "/train-00000.h5"])
    #expect(shard["sound"] as? Bool == true)
    for name in [
      "train-00000.h5", "test-00000.h5", "index.h5", "tokenizer.model", "test.target.txt",
    ] {
      let path = data + "/" + name
      let good = try Data(contentsOf: URL(fileURLWithPath: path))
      var damaged = good
      damaged[good.count / 2] ^= 1
      try damaged.write(to: URL(fileURLWithPath: path))
      try scratch.run(["inspect", "--verify", data]).expectRefusal(.badData, naming: [path])
      if name == "train-00000.h5" {
        try scratch.run(["inspect", "--verify", path]).expectRefusal(.badData, naming: [path])
        try scratch.run(["inspect", data]).expectRefusal(.badData, naming: [path])
      }
      try good.write(to: URL(fileURLWithPath: path))
    }
    // Digests that are not of what they describe.
    let path = data + "/dataset.json"
    let text = try String(contentsOfFile: path, encoding: .utf8)
    for digest in ["\(dataset.digest)", "\(dataset.contentDigest)"] {
      let other = String(repeating: "0", count: 32)
      try scratch.file("data/dataset.json", text.replacing(digest, with: other))
      try scratch.run(["inspect", "--verify", data]).expectRefusal(.badData, naming: [path, other])
    }
    try scratch.file("data/dataset.json", text)
    #expect(try scratch.run(["inspect", "--verify", data]).exitCode == 0)
  }

  /// Of a folder without an index is said what can be said without reading it.
  @Test func aFolderWithoutAnIndexIsShownAndVerified() throws {
    let data = try CopyData.copied(into: scratch)
    let dataset = try Dataset(path: data)
    try scratch.file("data/dataset.json", Data(try dataset.manifest.encoded()))
    try FileManager.default.removeItem(atPath: data + "/index.h5")
    let outcome = try scratch.run(["inspect", data])
    #expect(outcome.exitCode == 0 && outcome.output.contains("version 1"), "\(outcome.error)")
    #expect(outcome.output.contains("\(dataset.digest)"))
    let json = try object(["--verify", data])
    #expect(json["sound"] as? Bool == true)
    #expect(json["content_digest"] as? String == "\(dataset.contentDigest)")
    #expect(json["digest"] as? String == "\(dataset.digest)")
  }
}
