import Checkpoints
import Core
import Datasets
import Foundation
import Tensors
import Testing

/// Folders made before datasets had an index (`Tests/Fixtures/format-1`): they are read, translated
/// with and continued as by the program that made them.
@Suite(.serialized) struct FormatOneTests {
  /// What the program that made it recorded of `copy`, and what its content is called since, as
  /// the guide's lines of Python compute it.
  static let copyDigest = "7b20c984527b94d94c2e65b48d84e3b3"
  static let copyContentDigest = "24215b53d6ad77216ed8e92d2925647e"

  private let scratch: Scratch

  init() throws {
    scratch = try Scratch()
    let archive = Program.repository + "/Tests/Fixtures/format-1/folders.tar.gz"
    let outcome = try Job(["tar", "-xzf", archive, "--no-same-owner"], in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
  }

  /// Digests of all tensors by path, as the program that made the folders left them.
  private var resumed: [String: String] {
    get throws {
      let path = Program.repository + "/Tests/Fixtures/format-1/resumed.txt"
      var digests: [String: String] = [:]
      for line in try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n") {
        let words = line.split(separator: " ")
        digests[String(words[1])] = String(words[0])
      }
      return digests
    }
  }

  /// Digests of all tensors of a run's newest checkpoint.
  private func digests(of run: String) throws -> [String: String] {
    let checkpoint = try Checkpoint.open(run)
    let buffer = FloatBuffer(count: checkpoint.layout.count)
    var digests: [String: String] = [:]
    for (vector, group) in [
      (StateVector.parameters, "/parameters/"), (.firstMoment, "/optimizer/first_moment/"),
      (.secondMoment, "/optimizer/second_moment/"),
    ] {
      try checkpoint.read(0..<checkpoint.layout.count, of: vector, into: buffer.view)
      for entry in checkpoint.layout.entries {
        digests[group + entry.name] = "\(Digest(of: buffer.view[entry.range].bytes))"
      }
    }
    return digests
  }

  /// Names and bytes of all files of a folder.
  private func files(of folder: String) throws -> [String: Data] {
    let root = scratch.path + "/" + folder
    let names = try FileManager.default.contentsOfDirectory(atPath: root)
    return Dictionary(
      uniqueKeysWithValues: try names.map {
        ($0, try Data(contentsOf: URL(fileURLWithPath: root + "/" + $0)))
      })
  }

  private func resume(_ launch: Program.Launch, _ arguments: [String]) throws {
    let run = scratch.path + "/run"
    let outcome = try scratch.run(
      ["train", run + "/config.yaml", "train.steps=1520", "--run", run] + arguments, launch)
    #expect(outcome.exitCode == 0, "\(outcome.error)")
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(3)])
  func theRunGoesOnToTheSameBits(launch: Program.Launch) throws {
    let data = scratch.path + "/copy"
    let before = try files(of: "copy")
    try resume(launch, ["data.path=\(data)"])
    let expected = try resumed
    let found = try digests(of: scratch.path + "/run")
    #expect(found.count == 93)
    #expect(found == expected)
    #expect(try files(of: "copy") == before, "a folder of version 1 is never written to")
  }

  @Test func theRunTranslates() throws {
    let lines = "a b c\np o n m\nd d d d a\nh g f e d c b a\n"
    let run = scratch.path + "/run"
    let outcome = try scratch.run(["translate", "--checkpoint", run], input: lines)
    #expect(outcome.exitCode == 0 && outcome.output == lines, "\(outcome.error)")
    let verified = try scratch.run(["inspect", "--verify", run])
    #expect(verified.exitCode == 0, "\(verified.error)")
    let evaluated = try scratch.run(
      ["evaluate", "--checkpoint", run, "--data", scratch.path + "/copy", "--split", "test"])
    #expect(evaluated.exitCode == 0 && evaluated.output.contains("BLEU = 100.00"))
  }

  @Test func theFoldersAreTheDatasetsTheyWere() throws {
    for (name, digest) in [
      ("copy", Self.copyDigest), ("text", "c95da46c39cc3464d4137febbb98d670"),
    ] {
      let dataset = try Dataset(path: scratch.path + "/" + name)
      #expect("\(dataset.digest)" == digest)
      #expect(try dataset.manifest.digest() == dataset.digest)
    }
    let copy = try Dataset(path: scratch.path + "/copy")
    #expect("\(copy.contentDigest)" == Self.copyContentDigest)
    #expect(try Dataset(path: scratch.path + "/text").texts(of: .test).count == 6)
  }

  /// The second launch reads the shards it needs and no other: what it knows of the rest is kept.
  @Test func theIndexOfAFolderWithoutOneIsKept() throws {
    let data = scratch.path + "/copy"
    try resume(.alone, ["data.path=\(data)", "train.steps=1510"])
    let kept = scratch.path + "/run/dataset-\(Self.copyDigest).index"
    let index = try KeptIndex(
      decoding: Array(try Data(contentsOf: URL(fileURLWithPath: kept))), path: kept)
    #expect(try index.index == Dataset(path: data).index)
    // No step needs it.
    try Data("damaged".utf8).write(to: URL(fileURLWithPath: data + "/test-00000.h5"))
    try resume(.mpirun(2), ["data.path=\(data)"])
    #expect(try digests(of: scratch.path + "/run") == resumed)
    // One that is damaged is made anew, from all shards.
    try Data("damaged".utf8).write(to: URL(fileURLWithPath: kept))
    let outcome = try scratch.run([
      "train", scratch.path + "/run/config.yaml", "train.steps=1530", "data.path=\(data)",
      "--run", scratch.path + "/run",
    ])
    outcome.expectRefusal(.badData, naming: [data + "/test-00000.h5"])
  }
}
