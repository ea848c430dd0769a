import Core
import Foundation
import Training

/// Puts the Slurm job this process runs in back into its queue, as long as that leads anywhere.
package enum Requeue {
  /// So often in a row without a new checkpoint.
  package static let limit = 5

  /// What is remembered between the jobs of a run, in `RUN/requeues`.
  package struct Memory: Equatable, Sendable {
    /// The newest checkpoint when the job was queued the last time.
    package var savedStep: Int
    /// How often it was queued since that checkpoint was the newest.
    package var count: Int

    package init(savedStep: Int, count: Int) {
      self.savedStep = savedStep
      self.count = count
    }

    /// `STEP COUNT` on a line; nil for anything else.
    package init?(text: String) {
      let words = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
      guard words.count == 2, words[0] >= 0, words[1] >= 0 else { return nil }
      self.init(savedStep: words[0], count: words[1])
    }

    package var text: String { "\(savedStep) \(count)\n" }

    /// What is to be remembered once the job is queued again; nil where it should not be.
    package func next(savedStep step: Int) -> Memory? {
      // A lower one is new as well: somebody has gone back to it.
      if step != savedStep { return Memory(savedStep: step, count: 1) }
      return count < Requeue.limit ? Memory(savedStep: savedStep, count: count + 1) : nil
    }
  }

  /// Queues the job again. Returns a sentence for the log.
  ///
  /// - Parameter job: what Slurm's commands call the job this process is in; nil where it is in
  ///   none that runs.
  package static func run(
    job: String?, paths: RunPaths, savedStep: Int, environment: [String: String]
  ) -> String {
    guard let job else { return "not queued again: this is no job of Slurm" }
    let before = memory(of: paths) ?? Memory(savedStep: 0, count: 0)
    guard let next = before.next(savedStep: savedStep) else {
      return "not queued again: job \(job) was, \(limit) times without a new checkpoint; see what"
        + " the log says, remove \(paths.requeues) and submit it again"
    }
    let path = environment["PATH"] ?? "/usr/bin:/bin"
    guard let scontrol = SpawnedProcess.find("scontrol", path: path) else {
      return "not queued again: no scontrol on PATH"
    }
    do throws(Failure) {
      try FileSystem.writeAtomically(Array(next.text.utf8), to: paths.requeues)
    } catch {
      return "not queued again: \(error.message)"
    }
    let answer = SpawnedProcess.answer(
      [scontrol, "requeue", job], environment: environment, withinSeconds: 30)
    guard let answer, answer.end == .exit(0) else {
      let words = answer?.text.trimmingCharacters(in: .whitespacesAndNewlines) ?? "no answer"
      return "not queued again: scontrol requeue \(job): \(escaped(words))"
    }
    return "job \(job) is queued again and goes on after step \(savedStep)"
  }
  private static func memory(of paths: RunPaths) -> Memory? {
    guard let file = try? paths.open(paths.requeues, for: .reading),
      let byteCount = try? file.byteCount(), byteCount <= 256,
      let bytes = try? file.read(byteCount: byteCount, at: 0)
    else { return nil }
    return Memory(text: String(decoding: bytes, as: UTF8.self))
  }
}
