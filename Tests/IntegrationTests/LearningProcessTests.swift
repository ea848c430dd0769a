import Core
import Foundation
import Testing

/// The process in which `prepare` learns its tokenizer, and what becomes of it.
@Suite struct LearningProcessTests {
  /// Starts a preparation that learns for a while, and finds the process that does.
  ///
  /// - Parameter vocabulary: by which that process is told from those of other tests.
  private func preparation(
    vocabulary: Int, in scratch: Scratch
  ) throws -> (job: Job, learner: Int32) {
    let lines = (0..<200_000).map { "word\($0 * 7919 % 1_000_003) in text\($0 % 5077)\n" }
    try scratch.file("text", lines.joined())
    let job = try Job(
      try Program.command([
        "prepare", "--source", "text", "--target", "text", "--vocabulary", "\(vocabulary)",
        "--out", "data",
      ]), in: scratch)
    let learner = try eventually("a process learns") {
      let found = learners(vocabulary)
      try #require(job.isRunning || !found.isEmpty, "\(job.errorSoFar)")
      return found.first
    }
    return (job, learner)
  }

  private func learners(_ vocabulary: Int) -> [Int32] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { Int32($0) }.filter { process in
      let line = Scratch.commandLine(of: process)
      return line.contains("\0learn-tokenizer\0") && line.contains("--vocab_size=\(vocabulary) ")
    }
  }

  @Test func itsDeathIsASentence() throws {
    let scratch = try Scratch()
    let (job, learner) = try preparation(vocabulary: 15_013, in: scratch)
    kill(learner, SIGKILL)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.internal.rawValue)
    #expect(
      outcome.errorLines.last
        == "lockstep: tokenizer: the process that learns 15013 pieces from 400000 sentences died"
        + " (signal 9: killed, as when memory runs out); leave out what is no sentence, or take"
        + " fewer")
    #expect(!FileManager.default.fileExists(atPath: scratch.path + "/data"))
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
    #expect(!names.contains { $0.hasPrefix(".data") })
  }

  @Test func itDoesNotOutliveThePreparation() throws {
    let scratch = try Scratch()
    let (job, _) = try preparation(vocabulary: 15_017, in: scratch)
    job.send(SIGKILL)
    #expect(try job.outcome().exitCode == 128 + SIGKILL)
    try eventually("it is gone") { learners(15_017).isEmpty ? true : nil }
  }
}
