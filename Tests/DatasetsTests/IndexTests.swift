import Core
import Datasets
import Foundation
import Testing

@Suite final class IndexTests {
  let scratch = ScratchFolder()

  private func prepared(_ name: String = "data", pairs: Int = 300) throws -> Dataset {
    try scratch.prepare(name, .copy(pairs: pairs, heldOut: 20))
    return try Dataset(path: "\(scratch.path)/\(name)")
  }

  private func loader(_ dataset: Dataset, limit: Int? = nil) throws -> Loader {
    try Loader(
      dataset,
      options: .init(
        seed: 5, tokenBudget: 60, maximumLength: limit, microBatchesPerStep: 8,
        shardsPerWindow: 3))
  }

  /// Plans of two epochs.
  private func plans(_ loader: Loader) throws -> [StepPlan] {
    var plans: [StepPlan] = []
    var position = 0
    while position < 2 * loader.pairCount {
      plans.append(try loader.plan(position: position))
      position = plans[plans.count - 1].nextPosition
    }
    return plans
  }

  @Test func theIndexOfAFolderIsThatOfItsShards() throws {
    let dataset = try prepared()
    #expect(try dataset.folder.storedIndex() == dataset.index)
    #expect(try dataset.folder.readIndex(expecting: dataset.index) == dataset.index)
    for split in Split.allCases {
      let pairs = try dataset.allPairs(split)
      let index = dataset.index[split]
      #expect(index.itemCount == pairs.count)
      for stream in 0..<2 {
        let tokens = pairs.reduce(0) { $0 + $1[stream].count }
        #expect(index.tokenCount(stream: stream, of: 2) == tokens)
      }
      #expect(index.unknownTokens.allSatisfy { $0 == 0 })
      for limit in 0...11 {
        let short = pairs.count { max($0[0].count, $0[1].count) <= limit }
        #expect(index.itemCounts(longestSideAtMost: limit).reduce(0, +) == short)
        var statistics = LengthStatistics()
        for pair in pairs where max(pair[0].count, pair[1].count) <= limit {
          statistics.add(
            PairLength(
              pair: PairReference(shard: 0, index: 0), source: Int32(pair[0].count + 1),
              target: Int32(pair[1].count + 1)))
        }
        #expect(LengthStatistics(index.lengths, longestSide: limit + 1) == statistics)
      }
    }
  }

  @Test func aFolderWithoutAnIndexIsTheSameDataset() throws {
    let dataset = try prepared()
    let expected = try plans(loader(dataset, limit: 8))
    try scratch.makeVersionOne("data")
    let old = try Dataset(path: dataset.path)
    #expect(try old.folder.storedIndex() == nil)
    #expect(old.index == dataset.index)
    #expect(old.digest == dataset.digest && old.contentDigest == dataset.contentDigest)
    #expect(try plans(loader(old, limit: 8)) == expected)
    #expect(old.digest == Digest(of: try scratch.bytes("data/dataset.json")))
  }

  @Test func noShardIsReadBeforeItIsNeeded() throws {
    let dataset = try prepared()
    for name in try scratch.names(in: "data") where name.hasSuffix(".h5") && name != "index.h5" {
      try FileManager.default.removeItem(atPath: "\(dataset.path)/\(name)")
    }
    let loader = try loader(Dataset(path: dataset.path))
    #expect(loader.pairCount == dataset.pairCount(of: .training))
    let plan = FixedPlan(dataset, .test, tokenBudget: 60)
    #expect(plan.pairCount == dataset.pairCount(of: .test))
    let found = failure { _ = try loader.plan(position: 0) }
    #expect(found?.exitCode == .missingInput)
    #expect(found?.message.contains("/train-0000") == true)
    #expect(failure { _ = try plan.microBatches() }?.exitCode == .missingInput)
  }

  @Test func aShardThatIsAnotherIsNamedWithBothDigests() throws {
    let dataset = try prepared()
    var bytes = try scratch.bytes("data/train-00002.h5")
    let old = Digest(of: bytes)
    bytes[bytes.count / 2] ^= 4
    _ = try scratch.file("data/train-00002.h5", bytes)
    let found = failure { _ = try plans(loader(dataset)) }
    #expect(found?.exitCode == .badData)
    for word in ["\(dataset.path)/train-00002.h5", "\(old)", "\(Digest(of: bytes))"] {
      #expect(found?.message.contains(word) == true, "\(word)")
    }
  }

  // MARK: - What a stranger's index may say

  /// Writes an index with other bytes, described as it then is.
  private func change(
    _ dataset: Dataset, _ array: [String: Any], _ byte: Int, by mask: UInt8
  ) throws {
    let path = "\(dataset.path)/dataset.json"
    var bytes = try scratch.bytes("data/index.h5")
    bytes[try #require(array["byte_offset"] as? Int) + byte] ^= mask
    let text = String(decoding: try scratch.bytes("data/dataset.json"), as: UTF8.self)
    let old = "\(Digest(of: try scratch.bytes("data/index.h5")))"
    try FileSystem.writeAtomically(
      Array(text.replacing(old, with: "\(Digest(of: bytes))").utf8), to: path)
    _ = try scratch.file("data/index.h5", bytes)
  }

  /// Whatever number of it is another: it is refused when it is opened or when a shard is read, and
  /// found by a verification in any case.
  @Test func everyNumberOfAnIndexThatIsNotTrueIsFound() throws {
    let dataset = try prepared()
    let (index, text) = try (scratch.bytes("data/index.h5"), scratch.bytes("data/dataset.json"))
    let description = try #require(
      try JSONSerialization.jsonObject(with: Data(text)) as? [String: Any])
    let entry = try #require(description["index"] as? [String: Any])
    let arrays = try #require(entry["arrays"] as? [[String: Any]])
    #expect(arrays.count == 33)
    for array in arrays {
      let name = try #require(array["name"] as? String)
      let shape = try #require(array["shape"] as? [Int])
      let width = ["uint8": 1, "int32": 4, "int64": 8][array["type"] as? String ?? ""]
      let last = shape.reduce(1, *) * (try #require(width)) - 1
      // The lowest bit of the first number, the sign of the last.
      for (byte, mask) in [(0, UInt8(1)), (last, 0x80)] {
        try change(dataset, array, byte, by: mask)
        let report = try DatasetVerification(of: .folder(dataset.path))
        #expect(!report.isSound && report.problem?.isEmpty == false, "\(name)")
        let found = failure {
          let dataset = try Dataset(path: dataset.path)
          _ = try plans(loader(dataset))
          for split in [Split.validation, .test] {
            _ = try FixedPlan(dataset, split, tokenBudget: 60).microBatches()
          }
        }
        // Only what no step needs may pass: unknown shares, and tokens of held-out pairs, which
        // decide none.
        let decidesNothing =
          name.hasSuffix("unknown_tokens")
          || (name.hasSuffix("content_digest") && !name.hasPrefix("/train/"))
        #expect(found?.exitCode == .badData || decidesNothing, "\(name)")
        _ = try scratch.file("data/index.h5", index)
        _ = try scratch.file("data/dataset.json", text)
      }
    }
    #expect(try DatasetVerification(of: .folder(dataset.path)).isSound)
  }

  /// The memory of a step is planned from what the index says.
  @Test func lengthsThatAreNotTheShardsAreRefusedBeforeAStep() throws {
    let dataset = try prepared()
    var index = DatasetIndexBuilder()
    for split in Split.allCases {
      for shard in 0..<dataset.shardCount(of: split) {
        let expectation = dataset.index[split].expectation(shard: shard)
        var content = try dataset.content(shard: shard, of: split)
        if split == .training, shard == 1 { content = Self.shifted(content) }
        index.append(
          ShardSummary(
            of: content, digest: expectation.digest, byteCount: expectation.byteCount), to: split)
      }
    }
    try writeDescription(dataset.manifest, index.index(), in: dataset.path)
    let loader = try loader(Dataset(path: dataset.path))
    let found = failure { _ = try plans(loader) }
    #expect(found?.exitCode == .badData)
    #expect(found?.message.contains("index") == true)
  }

  /// As many items and tokens, but other lengths: all that can be is in the first item.
  private static func shifted(_ content: ShardContent) -> ShardContent {
    ShardContent(
      streams: content.streams.map { stream in
        let last = stream.tokens.count
        let offsets = (0...stream.count).map { $0 == 0 ? 0 : last - stream.count + $0 }
        return PackedSequences(tokens: stream.tokens, offsets: offsets)
      })
  }

  // MARK: - Identity

  private func content(_ shards: [ShardContent], tokenizer: String = "t") -> Digest {
    var index = DatasetIndexBuilder()
    for (number, shard) in shards.enumerated() {
      index.append(
        ShardSummary(of: shard, digest: Digest(of: "\(number)"), byteCount: 1), to: .training)
    }
    return index.index().contentDigest(kind: .pairs, tokenizerDigest: tokenizer)
  }

  /// The format's own words, by hand.
  @Test func theContentDigestIsWhatTheGuideSays() {
    let shard = ShardContent(
      source: PackedSequences([[3, 4], [5]]), target: PackedSequences([[70_000], [7, 8]]))
    func digest(_ numbers: [UInt32]) -> Digest {
      Digest(
        of: numbers.flatMap { number in
          (0..<4).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
        })
    }
    let text =
      "source 2 \(digest([2, 1])) \(digest([3, 4, 5]))\n"
      + "target 2 \(digest([1, 2])) \(digest([70_000, 7, 8]))\n"
    #expect(shard.digest(streams: ["source", "target"]) == Digest(of: text))
    let whole = "lockstep-content 1\npairs\nt\n\(Digest(of: text))\n"
    #expect(content([shard]) == Digest(of: whole))
  }

  @Test func theContentDigestIsOfWhatDecidesAStepAndNothingElse() throws {
    func shard(_ numbers: [[Int32]]) -> ShardContent {
      ShardContent(source: PackedSequences(numbers), target: PackedSequences(numbers.reversed()))
    }
    let (one, two) = (shard([[3, 4], [5]]), shard([[6], [7, 8, 9]]))
    let all = [
      content([one, two]), content([two, one]), content([one]), content([one, two, two]),
      content([one, two], tokenizer: "u"), content([shard([[3], [4, 5]]), two]),
      content([shard([[3, 4], [6]]), two]), content([shard([[3, 4], [5], [6], [7, 8, 9]])]),
    ]
    #expect(Set(all).count == all.count)
    // Names of files, origin, languages and held-out pairs.
    let dataset = try prepared()
    let (source, target) = (try texts(dataset, 0), try texts(dataset, 1))
    var made: [Dataset] = []
    for (name, valid) in [("a", 0), ("b", 0), ("c", 3)] {
      let files = [
        try scratch.file("\(name).source", source), try scratch.file("\(name).target", target),
      ]
      let heldOut = valid == 0 ? [:] : [Split.validation: try heldOut(valid)]
      try scratch.prepare("data-\(name)", .files(files[0], files[1], heldOut: heldOut))
      made.append(try Dataset(path: "\(scratch.path)/data-\(name)"))
    }
    #expect(Set(made.map(\.digest)).count == 3)
    #expect(Set(made.map(\.contentDigest)).count == 1)
  }

  private func texts(_ dataset: Dataset, _ stream: Int) throws -> String {
    try dataset.allPairs(.training).map { try dataset.tokenizer.decode($0[stream]) + "\n" }
      .joined()
  }

  /// Texts that training does not have.
  private func heldOut(_ count: Int) throws -> TextInput {
    let lines = (0..<count).map { "z y x w v u t s r q p o \($0)\n" }.joined()
    return .files(
      source: try scratch.file("held.source", lines),
      target: try scratch.file("held.target", lines))
  }

  @Test func anotherDatasetIsToldByItsFirstShardOrTheirNumber() throws {
    let dataset = try prepared()
    #expect(dataset.difference(from: dataset.index) == nil)
    let fewer = try prepared("fewer", pairs: 100)
    let text = try #require(dataset.difference(from: fewer.index))
    #expect(text.contains("\(dataset.shardCount(of: .training)) training shards"))
    var index = DatasetIndexBuilder()
    for shard in 0..<dataset.shardCount(of: .training) {
      let content = try dataset.content(shard: shard, of: .training)
      index.append(
        ShardSummary(
          of: shard == 2 ? Self.shifted(content) : content, digest: Digest(of: ""), byteCount: 1),
        to: .training)
    }
    let other = try #require(dataset.difference(from: index.index()))
    #expect(other.contains("shard 2 (train-00002.h5)"))
  }

  // MARK: - Kept by a run

  @Test func aKeptIndexIsTakenForItsOwnFolderAndNoOther() throws {
    let dataset = try prepared()
    try scratch.makeVersionOne("data")
    let folder = try DatasetFolder(path: dataset.path)
    let bytes = try KeptIndex.encoded(dataset)
    let kept = try KeptIndex(decoding: bytes, path: "kept")
    #expect(kept.digest == dataset.digest && kept.index == dataset.index)
    #expect(kept.dataset(folder)?.index == dataset.index)
    try scratch.prepare("other", .copy(pairs: 300, heldOut: 20, seed: 8))
    try scratch.makeVersionOne("other")
    #expect(kept.dataset(try DatasetFolder(path: "\(scratch.path)/other")) == nil)
    for offset in stride(from: 0, to: bytes.count, by: 499) {
      var damaged = bytes
      damaged[offset] ^= 1
      let found = failure {
        // A name or a digest may be another and the rest be sound: then it is another dataset's.
        let read = try KeptIndex(decoding: damaged, path: "kept")
        if read.dataset(folder) == nil { throw Failure(.badData, "of another folder") }
      }
      #expect(found?.exitCode == .badData, "\(offset)")
    }
    #expect(failure { _ = try KeptIndex(decoding: [], path: "kept") }?.exitCode == .badData)
  }
}
