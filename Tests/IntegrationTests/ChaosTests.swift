import Core
import Foundation
import Testing

/// Whatever dies at whatever moment, the supervised run ends with the bytes of the undisturbed one.
///
/// Seeded: a trial that fails is repeated with `LOCKSTEP_CHAOS_SEED=N LOCKSTEP_CHAOS_TRIALS=1`.
@Suite(.serialized) struct ChaosTests {
  private static let steps = 40
  private static let overrides =
    [
      "encoder_layers", "decoder_layers",
    ].map { "model.\($0)=2" } + ["checkpoint.every=4", "evaluation.every=10"]
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Who dies: a rank by itself at a named point, or whoever starts the ranks while one of them
  /// stands still at that point.
  private enum Victim: CaseIterable {
    case rank, launcher, supervisor
  }

  private struct Trial: CustomStringConvertible {
    let seed: Int
    let ranks: Int
    let layout: [String]
    let victim: Victim
    let faults: String

    init(seed: Int) {
      let random = RandomStream(seed: UInt64(seed), purpose: .synthesis, site: 99)
      var drawn = 0
      func below(_ bound: Int) -> Int {
        drawn += 1
        return Int(random.bits(at: drawn) % UInt64(bound))
      }
      let layouts: [(ranks: Int, [String])] = [
        (1, []), (2, []), (3, []), (2, ["parallel.stages=2"]), (4, ["parallel.stages=2"]),
        (2, ["parallel.exchange=messages"]), (4, ["parallel.stages=4"]),
      ]
      self.seed = seed
      (ranks, layout) = layouts[below(layouts.count)]
      victim = [.rank, .rank, .rank, .rank, .launcher, .supervisor][below(6)]
      let ranks = ranks
      func fault(_ action: String, launch: Int) -> String {
        let point = [
          "start", "load", "forward", "backward", "exchange", "update", "evaluate", "save",
        ][
          below(8)]
        let step =
          switch point {
          case "start": 0
          case "evaluate": 10 * (1 + below(3))
          case "save": 4 * (1 + below(9))
          default: 1 + below(ChaosTests.steps - 2)
          }
        return "\(point):\(step):\(below(ranks)):\(action)@\(launch)"
      }
      if victim == .rank {
        let actions = ["kill", "kill", "kill", "exit:9", "trap"]
        faults = (1...1 + below(2)).map { fault(actions[below(actions.count)], launch: $0) }
          .joined(separator: ",")
      } else {
        faults = fault("stop", launch: 1)
      }
    }

    /// Where the first fault is to happen.
    var point: String { String(faults.prefix { $0 != ":" }) }

    var description: String {
      "seed \(seed): \(ranks) ranks \(layout), \(victim), LOCKSTEP_FAULT=\(faults)"
    }
  }

  private static let undisturbed = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(overrides, steps: steps, in: scratch).finish()
  }

  @Test func whateverDiesTheBytesAreTheSame() throws {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["LOCKSTEP_CHAOS_SEED"].flatMap { Int($0) } ?? 1
    let count = environment["LOCKSTEP_CHAOS_TRIALS"].flatMap { Int($0) } ?? 12
    var injected = 0
    var table = ChaosTable()
    for seed in first..<first + count {
      if try survives(Trial(seed: seed), &table) { injected += 1 }
    }
    for line in table.lines { FileHandle.standardError.write(Data("  chaos: \(line)\n".utf8)) }
    // A fault test in which nothing happens proves nothing: most of them have to.
    #expect(count < 8 || injected * 4 >= count * 3, "only \(injected) of \(count) faults happened")
  }

  /// Whether the fault happened; everything else is expected.
  private func survives(_ trial: Trial, _ table: inout ChaosTable) throws -> Bool {
    let run = try TinyRun(
      Self.overrides + trial.layout, steps: Self.steps, name: "run\(trial.seed)", in: scratch)
    let job = try run.start(.supervised(trial.ranks), faults: trial.faults)
    var happened = false
    if trial.victim != .rank, let frozen = try waitForStopped(job) {
      happened = true
      switch trial.victim {
      case .launcher: kill(try launcher(), SIGKILL)
      case .supervisor: job.send(SIGKILL)
      case .rank: break
      }
      // A stopped process does not see that the others are gone.
      kill(frozen, SIGKILL)
    }
    var outcome = try job.outcome(deadlineSeconds: 120)
    if trial.victim == .supervisor, happened {
      #expect(outcome.exitCode == 128 + SIGKILL, "\(trial)")
      outcome = try run.train(.supervised(trial.ranks))
    }
    happened = happened || outcome.error.contains("fault point")
    #expect(outcome.exitCode == 0, "\(trial)\n\(outcome.error)")
    #expect(
      try run.result().differences(from: Self.undisturbed.get()) == [], "\(trial)")
    try eventually(within: 10, "all processes of \(trial) gone") {
      scratch.processes.isEmpty ? true : nil
    }
    table.add("\(trial.victim)", trial.point, happened: happened, run)
    try FileManager.default.removeItem(atPath: run.path)
    return happened
  }

  /// The rank that stopped itself at its fault point, or nil when the job ended without.
  private func waitForStopped(_ job: Job) throws -> Int32? {
    try eventually("a rank stops itself") { () -> Int32?? in
      guard job.isRunning else { return .some(nil) }
      for process in scratch.ranks where state(of: process) == "T" { return .some(process) }
      return nil
    }
  }

  private func state(of process: Int32) -> String? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
      let end = text.lastIndex(of: ")")
    else { return nil }
    return text[text.index(after: end)...].split(separator: " ").first.map(String.init)
  }

  private func launcher() throws -> Int32 {
    try #require(
      scratch.processes.first { process in
        let words = Scratch.commandLine(of: process).split(separator: "\0")
        return words.first?.hasSuffix("/mpirun") == true
      })
  }
}

/// How many trials of each kind there were, and how long it took to notice and to go on.
private struct ChaosTable {
  private var trials: [String: (count: Int, happened: Int)] = [:]
  private var detection: [Double] = []
  private var recovery: [Double] = []

  mutating func add(_ victim: String, _ point: String, happened: Bool, _ run: TinyRun) {
    for kind in [victim, "at \(point)"] {
      let before = trials[kind] ?? (0, 0)
      trials[kind] = (before.count + 1, before.happened + (happened ? 1 : 0))
    }
    detection += run.supervisorLines("death").compactMap {
      try? TinyRun.number("detect_seconds", in: $0)
    }
    recovery += run.supervisorLines("recovered").compactMap {
      try? TinyRun.number("seconds", in: $0)
    }
  }

  var lines: [String] {
    trials.keys.sorted().map { kind in
      let (count, happened) = trials[kind] ?? (0, 0)
      return "\(kind): \(count) trials, \(happened) faults happened"
    } + [quantiles("detected", detection), quantiles("recovered", recovery)]
  }

  private func quantiles(_ what: String, _ seconds: [Double]) -> String {
    guard !seconds.isEmpty else { return "\(what): never" }
    let sorted = seconds.sorted()
    let parts = [0.5, 0.9, 0.99, 1].map { share in
      let index = min(sorted.count - 1, Int(share * Double(sorted.count)))
      return String(format: "%.0f %% within %.1f s", 100 * share, sorted[index])
    }
    return "\(what) (\(sorted.count)): " + parts.joined(separator: ", ")
  }
}
