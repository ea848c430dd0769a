import Core
import Foundation
import Testing

/// Checkpoints that are damaged, foreign, or of another run.
@Suite(.serialized) struct CheckpointRefusalTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Cuts the end off a step's file.
  private func truncate(_ run: TinyRun, step: String) throws {
    let path = "\(run.path)/checkpoints/step-\(step)/checkpoint.h5"
    let bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    try bytes.dropLast(bytes.count / 3).write(to: URL(fileURLWithPath: path))
  }

  private func translate(_ checkpoint: String) throws -> Outcome {
    try scratch.run(["translate", "--checkpoint", checkpoint], input: "a b c\n")
  }

  @Test func theOnlyCheckpointTruncatedEndsTheRun() throws {
    let run = try TinyRun(steps: 5, in: scratch)
    try run.finish()
    try truncate(run, step: "000000005")
    for launch in [Program.Launch.alone, .mpirun(2)] {
      try run.train(launch).expectRefusal(.badData, naming: ["step-000000005", "bytes"])
    }
    try translate(run.path).expectRefusal(.badData, naming: ["step-000000005"])
    try scratch.run(["average", run.path, "--last", "1"])
      .expectRefusal(.badData, naming: ["step-000000005"])
    #expect(run.savedSteps == [5])
    #expect(!FileSystem.exists(run.path + "/average-last-1"))
    let inspection = try scratch.run(["inspect", run.path])
    #expect(inspection.exitCode == ExitCode.badData.rawValue)
    #expect(inspection.errorLines.count == 1, "\(inspection.error)")
  }

  @Test func withAnOlderOneTheRunFallsBackAndSaysSo() throws {
    let run = try TinyRun(in: scratch)
    let whole = try run.finish()
    try truncate(run, step: "000000020")
    let translated = try translate(run.path)
    #expect(translated.exitCode == 0)
    // What it falls back from, and what it falls back to.
    #expect(translated.errorLines.count == 2, "\(translated.error)")
    let older = try #require(run.savedSteps.dropLast().last)
    #expect(translated.error.contains("weights: \(run.checkpoint(older)): step \(older), "))
    let outcome = try run.train(.mpirun(2))
    #expect(outcome.exitCode == 0)
    #expect(outcome.errorLines.count == 1, "\(outcome.error)")
    #expect(outcome.error.hasPrefix("lockstep: "))
    #expect(outcome.error.contains("step-000000020"))
    // Which step that is depends on how fast the disk was; the bits below do not.
    #expect(outcome.output.contains("resumed after step "), "\(outcome.output)")
    #expect(try run.result().differences(from: whole) == [])
  }

  #if arch(x86_64)
    @Test func otherKernelsAreSaidAndTheRunGoesOn() throws {
      let (first, second) = ("Haswell", "Nehalem")
      try TinyRun(["runtime.blas_kernels=\(first)"], steps: 5, in: scratch).finish()
      let outcome = try TinyRun(["runtime.blas_kernels=\(second)"], steps: 9, in: scratch)
        .train(.mpirun(2))
      #expect(outcome.exitCode == 0, "\(outcome.error)")
      #expect(outcome.errorLines.count == 1, "\(outcome.error)")
      let line = "OpenBLAS kernels are \(second), the checkpoint was made with \(first): the run"
      #expect(outcome.error.hasPrefix("lockstep: \(line) goes on"), "\(outcome.error)")
      #expect(outcome.output.contains("resumed after step 5"), "\(outcome.output)")
      // Nothing to say where nothing has changed.
      let again = try TinyRun(["runtime.blas_kernels=\(second)"], steps: 12, in: scratch).train()
      #expect(again.exitCode == 0 && again.error == "", "\(again.error)")
    }

    @Test func ranksWithKernelsOfTheirOwnAreRefused() throws {
      let run = try TinyRun(in: scratch)
      let command = try run.command(
        byRank: ["Haswell", "Haswell", "Nehalem"].map { ["runtime.blas_kernels=\($0)"] })
      try Job(command, in: scratch).outcome()
        .expectRefusal(.configuration, naming: ["rank 2", "Nehalem", "Haswell", "blas_kernels"])
      #expect(!FileManager.default.fileExists(atPath: run.path))
    }
  #endif

  @Test func anyFileIsNoCheckpoint() throws {
    let text = try scratch.file("text.txt", "not a checkpoint\n")
    try translate(text).expectRefusal(.badData, naming: ["text.txt"])
    try translate(scratch.path + "/nowhere").expectRefusal(.missingInput, naming: ["nowhere"])
    let folder = scratch.path + "/folder"
    try FileSystem.createFolder(folder)
    try translate(folder).expectRefusal(.badData, naming: ["folder"])
    try scratch.file("folder/checkpoint.h5", "not HDF5")
    try translate(folder).expectRefusal(.badData, naming: ["folder"])
    try scratch.run(["inspect", text]).expectRefusal(.badData, naming: ["text.txt"])
    try scratch.run(["inspect", "nowhere"]).expectRefusal(.missingInput, naming: ["nowhere"])
  }

  @Test func aShardIsNoCheckpoint() throws {
    let folder = scratch.path + "/folder"
    try FileSystem.createFolder(folder)
    let trained = try TinyRun.trained + "/checkpoints/step-000000020"
    try FileManager.default.copyItem(
      atPath: try CopyData.path + "/train-00000.h5", toPath: folder + "/checkpoint.h5")
    try translate(folder).expectRefusal(.badData, naming: ["manifest.json"])
    try FileManager.default.copyItem(
      atPath: trained + "/manifest.json", toPath: folder + "/manifest.json")
    try translate(folder).expectRefusal(.badData, naming: ["checkpoint.h5"])
  }

  @Test func aRunKeepsItsDatasetAndVocabulary() throws {
    let run = try TinyRun(steps: 5, in: scratch)
    let before = try run.finish()
    let others = [
      ("other-pairs", ["--preset", "copy", "--shard-pairs", "1000"], "digest"),
      (
        "other-pieces",
        [
          "--source", try CopyData.path + "/test.source.txt", "--target",
          try CopyData.path + "/test.target.txt", "--vocabulary", "300",
        ], "tokenizer"
      ),
    ]
    for (name, arguments, word) in others {
      let data = scratch.path + "/" + name
      let prepared = try scratch.run(["prepare", "--out", data] + arguments)
      try #require(prepared.exitCode == 0, "\(prepared.error)")
      try TinyRun(steps: 9, data: data, in: scratch).train(.mpirun(2))
        .expectRefusal(.badData, naming: [name, word])
    }
    #expect(try run.result().differences(from: before) == [])
    // It may lie elsewhere.
    let moved = try CopyData.copied(into: scratch, as: "moved")
    try TinyRun(steps: 9, data: moved, in: scratch).finish()
  }
}
