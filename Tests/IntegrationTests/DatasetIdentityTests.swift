import Checkpoints
import Core
import Datasets
import Foundation
import Testing

/// Which dataset a run goes on with.
@Suite struct DatasetIdentityTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func prepare(_ arguments: [String]) throws {
    let outcome = try scratch.run(["prepare"] + arguments)
    try #require(outcome.exitCode == 0, "\(outcome.error)")
  }

  /// What datasets are called by stays, whatever the version of their folders.
  @Test func theCopyTaskKeepsItsDigest() throws {
    let data = scratch.path + "/copy"
    try prepare(["--preset", "copy", "--out", data])
    let dataset = try Dataset(path: data)
    #expect("\(dataset.digest)" == "39bd453f2280f8236f6135ca525c229d")
    #expect(dataset.folder.description.version == 2)
    let small = scratch.path + "/small"
    try prepare(["--preset", "copy", "--shard-pairs", "2000", "--seed", "3", "--out", small])
    #expect("\(try Dataset(path: small).digest)" == FormatOneTests.copyDigest)
    #expect("\(try Dataset(path: small).contentDigest)" == FormatOneTests.copyContentDigest)
  }

  /// Two texts of 40 lines under given names.
  private func texts(_ source: String, _ target: String, last: String = "c d 40") throws {
    let lines = (1...40).map { "\($0)" }
    try scratch.file(source, lines.map { "a b \($0)\n" }.joined())
    try scratch.file(
      target, lines.dropLast().map { "c d \($0)\n" }.joined() + last + "\n")
  }

  private func prepareTexts(
    _ source: String, _ target: String, out: String, shardPairs: Int = 10
  ) throws -> String {
    let path = scratch.path + "/" + out
    try prepare([
      "--source", scratch.path + "/" + source, "--target", scratch.path + "/" + target,
      "--vocabulary", "300", "--shard-pairs", "\(shardPairs)", "--out", path,
    ])
    return path
  }

  @Test func theSameTextUnderAnotherNameIsTheSameDataset() throws {
    try texts("s", "t")
    try texts("corpus.en", "corpus.de")
    let one = try prepareTexts("s", "t", out: "one")
    let two = try prepareTexts("corpus.en", "corpus.de", out: "two")
    try TinyRun(steps: 5, data: one, in: scratch).finish()
    let found = try TinyRun(steps: 10, data: two, in: scratch).finish(.mpirun(2))
    let undisturbed = try TinyRun(steps: 10, name: "whole", data: one, in: scratch).finish()
    #expect(undisturbed.differences(from: found) == [])
    let compared = try scratch.run(
      ["inspect", "--diff", scratch.path + "/run", scratch.path + "/whole"])
    #expect(compared.exitCode == 0, "\(compared.output)")
  }

  /// The refusal says what is another, as far as the run knows.
  @Test func anotherDatasetIsRefusedByWhatIsAnother() throws {
    try texts("s", "t")
    try texts("s2", "t2", last: "d c 40")
    let one = try prepareTexts("s", "t", out: "one")
    try TinyRun(steps: 5, data: one, in: scratch).finish()
    for (data, words) in [
      (try prepareTexts("s", "t", out: "larger", shardPairs: 20), ["2 training shards", "4"]),
      (try prepareTexts("s2", "t2", out: "changed"), ["training shard 3 (train-00003.h5)"]),
      (try CopyData.path, ["its tokenizer"]),
    ] {
      let outcome = try TinyRun(steps: 10, data: data, in: scratch).train(.mpirun(2))
      outcome.expectRefusal(.badData, naming: words + [data])
    }
    // Without what the run has kept, the digests remain.
    for name in try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/run")
    where name.hasSuffix(".index") {
      try FileManager.default.removeItem(atPath: scratch.path + "/run/" + name)
    }
    let outcome = try TinyRun(steps: 10, data: scratch.path + "/changed", in: scratch).train()
    let digests = try ["one", "changed"].map {
      "\(try Dataset(path: scratch.path + "/" + $0).contentDigest)"
    }
    outcome.expectRefusal(.badData, naming: digests)
  }
}
