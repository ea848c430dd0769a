import Core
import Foundation
import Testing

/// A control group of a test, below the one it runs in, as a scheduler makes one for a job.
private struct LimitedGroup {
  static let byteLimit = 200 << 20
  let folder: String

  /// nil where groups cannot be made here, or have no limits.
  init?() {
    guard let own = MemoryGroup.own()?.folders.first else { return nil }
    folder = "\(own)/lockstep-test-\(UUID().uuidString)"
    guard mkdir(folder, 0o755) == 0 else { return nil }
    for name in ["memory.limit_in_bytes", "memory.max"] {
      guard let file = fopen("\(folder)/\(name)", "re+") else { continue }
      fputs("\(Self.byteLimit)", file)
      if fclose(file) == 0 { return }
    }
    remove()
    return nil
  }

  /// Once none of its processes is left.
  func remove() {
    for _ in 0..<1000 where rmdir(folder) != 0 && errno == EBUSY { usleep(10_000) }
  }

  /// A command whose processes are all in the group.
  func command(_ words: [String]) -> [String] {
    ["bash", "-c", #"echo $$ >"$0/cgroup.procs" && exec "$@""#, folder] + words
  }

  static let canBeMade: Bool = {
    let group = LimitedGroup()
    group?.remove()
    return group != nil
  }()
}

@Suite(.serialized) struct MemoryLimitTests {
  @Test(
    .enabled(if: LimitedGroup.canBeMade, "SKIPPED: needs the right to make a memory cgroup"))
  func whoeverGetsTooLittleIsWarnedAndToldWhoseLimitItWas() throws {
    let group = try #require(LimitedGroup())
    let scratch = try Scratch()
    defer {
      scratch.kill()
      group.remove()
    }
    // Twenty-five million parameters: weights and gradients alone are above the limit.
    let run = try TinyRun(
      [
        "model.dimension=512", "model.feed_forward=2048", "model.heads=8",
        "model.encoder_layers=4", "model.decoder_layers=3",
      ], in: scratch)
    let outcome = try Job(group.command(try run.command(.supervised(2))), in: scratch).outcome()
    #expect(outcome.exitCode == ExitCode.internal.rawValue, "\(outcome.error)")
    let warnings = outcome.output.split(separator: "\n").filter { $0.contains("too little") }
    #expect(warnings.first?.hasPrefix("  memory  too little: 2 ranks on ") == true)
    #expect(warnings.first?.hasSuffix("and more, the job's memory limit is 210 MB") == true)
    #expect(outcome.error.contains("killed by SIGKILL, as the job's memory limit was reached"))
    #expect(
      outcome.error.contains(
        "given up: died 3 times at the same place, as the job's memory limit was reached"),
      "\(outcome.error)")
  }
}
