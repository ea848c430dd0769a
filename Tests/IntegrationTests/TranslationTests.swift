import Checkpoints
import Core
import Foundation
import Testing

/// From text to text: the copy task, whose right answers are known.
@Suite(.serialized) struct TranslationTests {
  private func lines(_ path: String) throws -> [Substring] {
    try String(contentsOfFile: path, encoding: .utf8).split(
      separator: "\n", omittingEmptySubsequences: false)
  }

  @Test func theCopyTaskIsLearnt() throws {
    let scratch = try Scratch()
    let run = scratch.path + "/run"
    let data = try CopyData.path
    let trained = try Job(
      Program.command(["train", Program.copyConfiguration, "--run", run, "data.path=\(data)"]),
      in: scratch
    ).outcome(deadlineSeconds: 200)
    try #require(trained.exitCode == 0, "\(trained.error)")
    let source = try String(contentsOfFile: data + "/test.source.txt", encoding: .utf8)
    let expected = try lines(data + "/test.target.txt")
    for beam in ["1", "4"] {
      let outcome = try scratch.run(
        ["translate", "--checkpoint", run, "--beam", beam], input: source)
      #expect(outcome.exitCode == 0, "\(outcome.error)")
      let weights = try Checkpoint.open(run)
      #expect(
        outcome.error == "lockstep: weights: \(weights.path): step 500, digest \(weights.digest)\n")
      let found = outcome.output.split(separator: "\n", omittingEmptySubsequences: false)
      try #require(found.count == expected.count)
      let right = zip(found, expected).count { $0 == $1 && !$0.isEmpty }
      let pairs = expected.count - 1
      #expect(Double(right) > 0.99 * Double(pairs), "beam \(beam): \(right) of \(pairs)")
    }

    let averaged = try scratch.run(["average", run, "--last", "2"])
    #expect(averaged.exitCode == 0, "\(averaged.error)")
    let evaluated = try scratch.run(
      ["evaluate", "--checkpoint", run + "/average-last-2", "--data", data])
    #expect(evaluated.exitCode == 0 && evaluated.error == "", "\(evaluated.error)")
    #expect(evaluated.output.contains(/BLEU = (?:100|99|98)\./), "\(evaluated.output)")
    #expect(evaluated.output.contains("perplexity = 1.0"), "\(evaluated.output)")
    let inspected = try scratch.run(["inspect", run + "/average-last-2"])
    #expect(inspected.exitCode == 0 && inspected.error == "")
    #expect(inspected.output.contains("every byte verified"))
    #expect(inspected.output.contains("all values finite"))
  }

  @Test func everyLineHasItsLine() throws {
    let scratch = try Scratch()
    let long = Array(repeating: "c d", count: 300).joined(separator: " ")
    let input = "a b\n\n   \n\(long)\nunseen Ünïcode 漢字 \u{1F600}\r\nlast without end"
    let alone = ["a b", long, "last without end"]
    for beam in ["1", "4"] {
      let command = ["translate", "--checkpoint", try TinyRun.trained, "--beam", beam]
      let outcome = try scratch.run(command, input: input)
      #expect(outcome.exitCode == 0 && outcome.errorLines.count == 1, "\(outcome.error)")
      let found = outcome.output.split(separator: "\n", omittingEmptySubsequences: false)
      try #require(found.count == 7 && found[6].isEmpty)
      #expect(found[1].isEmpty && found[2].isEmpty)
      // Neighbours in a batch change nothing.
      for (line, index) in zip(alone, [0, 3, 5]) {
        #expect(try scratch.run(command, input: line).output == found[index] + "\n")
      }
    }
    let nothing = try scratch.run(["translate", "--checkpoint", try TinyRun.trained])
    #expect(nothing.exitCode == 0 && nothing.output == "" && nothing.error == "")
  }

  @Test(arguments: [
    Data([0xFF, 0xFE]), Data(Array(repeating: "a", count: 5000).joined(separator: " ").utf8),
  ])
  func aBadLineEndsItAfterTheGoodLines(line: Data) throws {
    let scratch = try Scratch()
    let command = try Program.command(["translate", "--checkpoint", try TinyRun.trained])
    let bytes = Data("a b\n".utf8) + line + Data("\nc\n".utf8)
    let outcome = try Job(command, input: bytes, in: scratch).outcome()
    #expect(outcome.exitCode == ExitCode.badData.rawValue)
    #expect(outcome.errorLines.count == 2)
    #expect(outcome.error.hasPrefix("lockstep: weights: ") && outcome.error.contains("line 2"))
    #expect(outcome.output.split(separator: "\n", omittingEmptySubsequences: false).count == 2)
  }

  /// Each line is answered while the pipe stays open.
  @Test func aPartnerOnAPipeIsAnsweredWhenItPauses() throws {
    let scratch = try Scratch()
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["timeout", "60"]
      + (try Program.command(["translate", "--checkpoint", try TinyRun.trained]))
    let (input, output) = (Pipe(), Pipe())
    (process.standardInput, process.standardOutput) = (input, output)
    try process.run()
    defer { process.terminate() }
    for line in ["a b", "c d e", "f"] {
      let alone = try scratch.run(
        ["translate", "--checkpoint", try TinyRun.trained], input: line + "\n")
      try input.fileHandleForWriting.write(contentsOf: Data((line + "\n").utf8))
      var answer = Data()
      while answer.last != 0x0A {
        let more = output.fileHandleForReading.availableData
        try #require(!more.isEmpty, "no answer to \(line)")
        answer += more
      }
      #expect(String(decoding: answer, as: UTF8.self) == alone.output)
    }
    try input.fileHandleForWriting.close()
    process.waitUntilExit()
    #expect(process.terminationStatus == 0)
  }

  /// To cut 300,000 characters into pieces took 25 seconds.
  @Test func aTextOfManyBytesIsRefusedBeforeItIsCut() throws {
    let scratch = try Scratch()
    let long = String(repeating: "\u{6F22}", count: 100_000)
    try scratch.run(
      ["translate", "--checkpoint", try TinyRun.trained], input: long + "\n"
    ).expectRefusal(.badData, naming: ["line 1: 300000 bytes, at most 65536", "sentences"])
    let data = try CopyData.path
    let words = try String(contentsOfFile: data + "/test.source.txt", encoding: .utf8)
    try scratch.file("test", words + long.prefix(30_000) + "\n")
    let prepared = try scratch.run([
      "prepare", "--source", data + "/valid.source.txt", "--target", data + "/valid.target.txt",
      "--test-source", "test", "--test-target", "test", "--vocabulary", "300",
      "--max-pieces", "100000", "--out", "long",
    ])
    try #require(prepared.exitCode == 0, "\(prepared.error)")
    let evaluate = ["evaluate", "--checkpoint", try TinyRun.trained, "--data", "long"]
    try scratch.run(evaluate).expectRefusal(.badData, naming: ["90000 bytes", "--max-pieces"])
    let outcome = try scratch.run(evaluate + ["--max-pieces", "100", "--json"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.contains("\"omitted_pairs\":1"), "\(outcome.output)")
  }

  @Test func learnedPositionsEndSomewhere() throws {
    let scratch = try Scratch()
    let learned = ["model.positions=learned", "model.maximum_positions=16"]
    let run = try TinyRun(learned, steps: 5, in: scratch)
    try run.finish()
    let command = ["translate", "--checkpoint", run.path]
    try scratch.run(command, input: "a b c d e f g h i j k l m n o p a b c\n")
      .expectRefusal(.badData, naming: ["line 1", "16"])
    #expect(try scratch.run(command, input: "a b c d\n").exitCode == 0)
    let short = ["model.positions=learned", "model.maximum_positions=4"]
    try TinyRun(short, name: "short", in: scratch).train()
      .expectRefusal(.configuration, naming: ["model.maximum_positions"])
  }

  /// Its text counts, in the checkpoint's own pieces.
  @Test func aDatasetOfAnotherTokenizerIsEvaluatedAllTheSame() throws {
    let scratch = try Scratch()
    let text = try CopyData.path + "/test."
    let prepared = try scratch.run([
      "prepare", "--source", text + "source.txt", "--target", text + "target.txt", "--test", "50",
      "--vocabulary", "300", "--out", "other",
    ])
    try #require(prepared.exitCode == 0, "\(prepared.error)")
    let outcome = try scratch.run(
      ["evaluate", "--checkpoint", try TinyRun.trained, "--data", "other", "--json"])
    #expect(outcome.exitCode == 0 && outcome.error == "", "\(outcome.error)")
    #expect(outcome.output.contains("\"pairs\":50"), "\(outcome.output)")
    let weights = try Checkpoint.open(try TinyRun.trained)
    #expect(outcome.output.contains("\"checkpoint\":\"\(weights.path)\""))
    #expect(outcome.output.contains("\"checkpoint_digest\":\"\(weights.digest)\""))
    #expect(outcome.output.contains("\"step\":\(weights.header.step),"), "\(outcome.output)")
    try scratch.run(
      ["evaluate", "--checkpoint", try TinyRun.trained, "--data", "other", "--split", "valid"]
    ).expectRefusal(.badData, naming: ["valid"])
  }
}
