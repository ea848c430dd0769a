import Core
import Datasets
import Foundation
import HDF5
import Testing

extension Outcome {
  /// Checks that the program refused with one clear line: nothing else on stderr, nothing on
  /// stdout.
  func expectRefusal(
    _ code: ExitCode, naming words: [String] = [],
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    #expect(exitCode == code.rawValue, "\(error)", sourceLocation: sourceLocation)
    #expect(errorLines.count == 1, "\(error)", sourceLocation: sourceLocation)
    #expect(error.hasPrefix("lockstep: ") && error.hasSuffix("\n"), sourceLocation: sourceLocation)
    #expect(output == "", sourceLocation: sourceLocation)
    for word in words {
      #expect(error.contains(word), "\(error)", sourceLocation: sourceLocation)
    }
  }
}

/// A configuration that cannot be meant.
@Suite(.serialized) struct ConfigurationRefusalTests {
  @Test(arguments: [
    ("seed: 1\ntrain:\n  stepz: 5\n", ["bad.yaml:3", "train.stepz", "train.steps"]),
    ("model:\n  heads: many\n", ["bad.yaml:2", "model.heads", "many"]),
    ("model:\n  dropout: 1.5\n", ["bad.yaml:2", "model.dropout"]),
    ("batch:\n  lanes: 3\n", ["bad.yaml:2", "batch.lanes"]),
    ("model: {dimension: 30, heads: 4}\n", ["model.dimension 30"]),
    ("model: [1, 2]\n", ["bad.yaml:1"]),
    ("a: &x 1\nb: *x\n", ["bad.yaml:1"]),
    ("schedule:\n  kind: cosine\n", ["schedule.peak"]),
    ("", ["data.path"]),
  ])
  func aFileIsRefusedWithItsLine(yaml: String, words: [String]) throws {
    let scratch = try Scratch()
    let file = try scratch.file("bad.yaml", yaml)
    let data = yaml.isEmpty ? [] : ["data.path=\(try CopyData.path)"]
    let outcome = try scratch.run(["train", file, "--run", scratch.path + "/run"] + data)
    outcome.expectRefusal(.configuration, naming: words)
    #expect(!FileSystem.exists(scratch.path + "/run"))
  }

  @Test(
    arguments: [
      ("train.stepz=5", ExitCode.configuration, "train.steps"),
      ("train.steps=many", .configuration, "train.steps"),
      ("runtime.blas_kernels=Abacus", .configuration, "Abacus"),
      ("steps", .usage, "key.path=value"),
    ], [Program.Launch.alone, .mpirun(3)])
  func anArgumentIsRefusedOnce(
    refused: (argument: String, code: ExitCode, word: String), launch: Program.Launch
  ) throws {
    let scratch = try Scratch()
    let outcome = try TinyRun([refused.argument], in: scratch).train(launch)
    outcome.expectRefusal(refused.code, naming: [refused.word])
    #expect(!FileSystem.exists(scratch.path + "/run"))
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(3)])
  func aMissingFileIsMissingInput(launch: Program.Launch) throws {
    let scratch = try Scratch()
    let outcome = try scratch.run(["train", "nowhere.yaml", "--run", "run"], launch)
    outcome.expectRefusal(.missingInput, naming: ["nowhere.yaml"])
  }

  /// Numbers that no array has are refused before anything is multiplied.
  @Test(arguments: [
    ["bench", "step", Program.copyConfiguration, "--length", "9223372036854775807"],
    ["bench", "step", Program.copyConfiguration, "--vocabulary", "3000000000"],
    ["bench", "exchange", "--to", "9223372036854775807"],
    [
      "prepare", "--source", "s", "--target", "t", "--out", "o", "--valid", "9223372036854775807",
      "--test", "1",
    ],
    ["evaluate", "--checkpoint", "c", "--data", "d", "--split", "train"],
    ["translate", "--checkpoint", "c", "--beam", "9223372036854775807"],
    ["translate", "--checkpoint", "c", "--batch-tokens", "9223372036854775807"],
    ["launch", "-np", "9223372036854775807", Program.copyConfiguration, "--run", "r"],
    [
      "launch", "--restarts", "9223372036854775807", Program.copyConfiguration, "--run", "r",
    ],
    [
      "launch", "-np", "2", "--min-ranks", "3", Program.copyConfiguration, "data.path=d", "--run",
      "r",
    ],
  ])
  func numbersOutOfBoundsAreUsageErrors(arguments: [String]) throws {
    let scratch = try Scratch()
    let outcome = try scratch.run(arguments)
    #expect(outcome.exitCode == ExitCode.usage.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("--"), "\(outcome.error)")
  }

  /// Whatever a process would do alone, where it was meant to be one of several.
  @Test func tasksThatCannotFindEachOtherAreRefusedOnce() throws {
    let scratch = try Scratch()
    let train = try TinyRun(in: scratch).command()
    let bench = try Program.command(["bench", "exchange"])
    for command in [train, bench] {
      for (rank, words) in [("0", ["Slurm started 3 tasks", "srun --mpi=pmix"]), ("2", [])] {
        let job = try Job(
          command, environment: ["SLURM_STEP_NUM_TASKS": "3", "SLURM_PROCID": rank],
          in: scratch)
        let outcome = try job.outcome()
        #expect(outcome.exitCode == ExitCode.configuration.rawValue && outcome.output == "")
        #expect(outcome.errorLines.count == (rank == "0" ? 1 : 0), "\(outcome.error)")
        for word in words { #expect(outcome.error.contains(word), "\(outcome.error)") }
      }
    }
    #expect(!FileSystem.exists(scratch.path + "/run"))
  }

  @Test func moreRanksThanLanesAreRefusedOnce() throws {
    let scratch = try Scratch()
    try TinyRun(["batch.lanes=2"], in: scratch).train(.mpirun(4))
      .expectRefusal(.configuration, naming: ["2", "4", "lanes"])
    try TinyRun(["parallel.replicas=4"], in: scratch).train(.mpirun(2))
      .expectRefusal(.configuration, naming: ["parallel.replicas"])
    #expect(!FileSystem.exists(scratch.path + "/run"))
  }

  @Test func aRunKeepsWhatDecidesItsSteps() throws {
    let scratch = try Scratch()
    let before = try TinyRun(steps: 5, in: scratch).finish()
    let outcome = try TinyRun(["model.dropout=0.2", "seed=9"], steps: 9, in: scratch)
      .train(.mpirun(2))
    outcome.expectRefusal(
      .configuration, naming: ["seed: 1 -> 9", "model.dropout: 0.1 -> 0.2"])
    #expect(try TinyRun(in: scratch).result().differences(from: before) == [])
  }
}

/// Text and shards that are not what they should be.
@Suite(.serialized) struct DataRefusalTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private func expectRefusal(
    data: String, _ code: ExitCode, naming words: [String],
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    for launch in [Program.Launch.alone, .mpirun(2)] {
      let run = try TinyRun(data: data, in: scratch)
      try run.train(launch)
        .expectRefusal(code, naming: words, sourceLocation: sourceLocation)
      #expect(run.savedSteps == [])
      #expect(!FileSystem.exists(run.path + "/config.yaml"))
    }
  }

  @Test func aMissingDatasetIsMissingInput() throws {
    try expectRefusal(data: scratch.path + "/nowhere", .missingInput, naming: ["nowhere"])
  }

  @Test func aMissingShardIsMissingInput() throws {
    let data = try CopyData.copied(into: scratch)
    try FileSystem.remove(data + "/train-00000.h5")
    try expectRefusal(data: data, .missingInput, naming: ["train-00000.h5"])
  }

  @Test func aTruncatedShardIsBadData() throws {
    let data = try CopyData.copied(into: scratch)
    let bytes = try Data(contentsOf: URL(fileURLWithPath: data + "/train-00000.h5"))
    try scratch.file("data/train-00000.h5", bytes.dropLast(100))
    try expectRefusal(data: data, .badData, naming: ["train-00000.h5", "bytes"])
  }

  @Test func foreignHDF5IsNoShard() throws {
    let data = try CopyData.copied(into: scratch)
    let foreign = try TinyRun.trained + "/checkpoints/step-000000020/checkpoint.h5"
    try FileSystem.remove(data + "/train-00000.h5")
    try FileManager.default.copyItem(atPath: foreign, toPath: data + "/train-00000.h5")
    try expectRefusal(data: data, .badData, naming: ["train-00000.h5"])
  }

  /// Whoever made it has made the digests fit.
  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func aTokenOutsideTheVocabularyIsBadData(launch: Program.Launch) throws {
    let data = try CopyData.copied(into: scratch)
    let vocabularySize = try Dataset(path: data).vocabularySize
    try replaceToken(7, of: "/target/tokens", by: UInt16(vocabularySize), in: "data")
    #expect(throws: Never.self) { try Dataset(path: data) }
    let run = try TinyRun(data: data, in: scratch)
    let outcome = try run.train(launch)
    #expect(outcome.exitCode == ExitCode.badData.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("/data/train-00000.h5: /target/tokens[7]: "), "\(outcome.error)")
    #expect(run.savedSteps == [])
  }

  /// Makes a dataset's first training shard anew with another token, and describes it as it is.
  private func replaceToken(
    _ index: Int, of side: String, by token: UInt16, in name: String
  ) throws {
    let path = "\(scratch.path)/\(name)"
    let old = try StoredFile.open(path + "/train-00000.h5")
    let new = try File.createInMemory(named: "train-00000.h5")
    for name in old.attributeNames() {
      try new.setAttribute(name, to: try #require(old.attribute(name)))
    }
    for tokens in ["/source/tokens", "/target/tokens"] {
      var values = try old.read(tokens, as: UInt16.self)
      if tokens == side { values[index] = token }
      try new.write(values, to: tokens, storage: .compressed)
    }
    for offsets in ["/source/offsets", "/target/offsets"] {
      try new.write(try old.read(offsets, as: UInt64.self), to: offsets, storage: .compressed)
    }
    for texts in ["/preview/source", "/preview/target"] {
      try new.writeTexts(try old.readTexts(texts), to: texts)
    }
    let bytes = try new.closeAndReturnImage()
    let dataset = try Dataset(path: path)
    var index = DatasetIndexBuilder()
    for split in Split.allCases {
      for shard in 0..<dataset.shardCount(of: split) {
        let isNew = split == .training && shard == 0
        let expectation = dataset.index[split].expectation(shard: shard)
        index.append(
          ShardSummary(
            of: try dataset.content(shard: shard, of: split),
            digest: isNew ? Digest(of: bytes) : expectation.digest,
            byteCount: isNew ? bytes.count : expectation.byteCount), to: split)
      }
    }
    try scratch.file(name + "/train-00000.h5", Data(bytes))
    try writeDescription(dataset.manifest, index.index(), in: path)
  }

  @Test func anyFolderIsNoDataset() throws {
    try expectRefusal(data: scratch.path, .missingInput, naming: ["dataset.json"])
    try scratch.file("dataset.json", "{}")
    try expectRefusal(data: scratch.path, .badData, naming: ["dataset.json"])
  }

  @Test(arguments: [
    (Data("a\nb\nc\n".utf8), Data("x\ny\n".utf8), ["3", "2"]),
    (
      Data("a\nb\n".utf8), Data([0x61, 0x0A, 0xC3, 0x28, 0x0A]), ["target.txt", "line 2", "UTF-8"]
    ),
    (Data(), Data(), []),
  ])
  func textThatIsNoParallelTextIsRefused(source: Data, target: Data, words: [String]) throws {
    let source = try scratch.file("source.txt", source)
    let target = try scratch.file("target.txt", target)
    let outcome = try scratch.run(
      ["prepare", "--source", source, "--target", target, "--out", scratch.path + "/made"])
    #expect(outcome.exitCode == ExitCode.badData.rawValue, "\(outcome.error)")
    let own = outcome.errorLines.filter { !$0.hasPrefix("prepare: ") }
    #expect(own.count == 1 && own.first?.hasPrefix("lockstep: ") == true, "\(outcome.error)")
    for word in words { #expect(outcome.error.contains(word), "\(outcome.error)") }
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
    #expect(names.filter { $0.contains("made") } == [])
  }

  @Test func missingTextIsMissingInput() throws {
    let outcome = try scratch.run(["prepare", "--source", "no", "--target", "no", "--out", "made"])
    #expect(outcome.exitCode == ExitCode.missingInput.rawValue)
    #expect(outcome.error.contains(/\nlockstep: no: [^\n]+\n$/), "\(outcome.error)")
    #expect(!FileSystem.exists(scratch.path + "/made"))
  }

  @Test func aFolderWithFilesIsNotOverwritten() throws {
    let data = try CopyData.copied(into: scratch)
    let before = try Data(contentsOf: URL(fileURLWithPath: data + "/dataset.json"))
    try scratch.run(["prepare", "--preset", "copy", "--seed", "5", "--out", data])
      .expectRefusal(.cannotCreate, naming: ["data"])
    #expect(try Data(contentsOf: URL(fileURLWithPath: data + "/dataset.json")) == before)
  }
}
