import Checkpoints
import Core
import Foundation
import Tensors
import Testing

/// The copy task's dataset, prepared by the program once for all tests of this process.
enum CopyData {
  private nonisolated(unsafe) static var owner: Scratch?

  private static let prepared = Result<String, any Error> {
    let scratch = try Scratch()
    owner = scratch
    atexit { CopyData.owner = nil }
    let path = scratch.path + "/copy"
    let outcome = try scratch.run(["prepare", "--preset", "copy", "--out", path])
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    return path
  }

  static var path: String { get throws { try prepared.get() } }

  /// Where it lies, until the end of this process.
  static var scratch: Scratch {
    get throws {
      _ = try path
      return try #require(owner)
    }
  }

  /// A copy that a test may damage.
  static func copied(into scratch: Scratch, as name: String = "data") throws -> String {
    let copy = "\(scratch.path)/\(name)"
    try FileManager.default.copyItem(atPath: try path, toPath: copy)
    return copy
  }
}

/// A run of a model so small that a step takes milliseconds, with all that makes runs hard to
/// reproduce: dropout, label smoothing, lanes of unequal token counts.
struct TinyRun {
  static let settings = [
    "model.dimension=32", "model.feed_forward=48", "model.heads=2", "model.decoder_layers=1",
    "model.dropout=0.1", "train.label_smoothing=0.1", "train.log_every=1", "batch.tokens=240",
    "batch.lanes=8", "schedule.kind=inverse_sqrt", "schedule.warmup_steps=10",
    "evaluation.every=5", "checkpoint.every=5",
    "checkpoint.keep=3",
  ]

  let scratch: Scratch
  /// The run directory.
  let path: String
  private let arguments: [String]

  init(
    _ overrides: [String] = [], steps: Int = 20, name: String = "run", data: String? = nil,
    in scratch: Scratch
  ) throws {
    self.scratch = scratch
    path = "\(scratch.path)/\(name)"
    arguments =
      ["train", Program.copyConfiguration, "--run", path, "data.path=\(try data ?? CopyData.path)"]
      + Self.settings + ["train.steps=\(steps)"] + overrides
  }

  func command(_ launch: Program.Launch = .alone) throws -> [String] {
    try Program.command(arguments, launch)
  }

  /// A job whose ranks do not quite agree on what to do.
  func command(byRank overrides: [[String]]) throws -> [String] {
    try Program.command(byRank: overrides.map { arguments + $0 })
  }

  /// - Parameters:
  ///   - faults: what goes wrong on purpose, as in `LOCKSTEP_FAULT`.
  ///   - checks: whether the ranks compare what they call.
  func start(
    _ launch: Program.Launch = .alone, faults: String = "", checks: Bool = false,
    environment: [String: String] = [:]
  ) throws -> Job {
    let own = ["LOCKSTEP_FAULT": faults, "LOCKSTEP_CHECK": checks ? "1" : "0"]
    return try Job(
      try command(launch), environment: own.merging(environment) { $1 }, in: scratch)
  }

  func train(
    _ launch: Program.Launch = .alone, faults: String = "", checks: Bool = false,
    environment: [String: String] = [:]
  ) throws -> Outcome {
    try start(launch, faults: faults, checks: checks, environment: environment).outcome()
  }

  /// Trains to the end.
  @discardableResult
  func finish(
    _ launch: Program.Launch = .alone, environment: [String: String] = [:]
  ) throws -> RunResult {
    let outcome = try train(launch, environment: environment)
    try #require(outcome.exitCode == 0, "\(launch.testDescription): \(outcome.error)")
    return try result()
  }

  func result() throws -> RunResult { try RunResult(run: path) }

  /// The folder of a step's checkpoint.
  func checkpoint(_ step: Int) -> String {
    CheckpointStore(folder: path + "/checkpoints").path(ofStep: step)
  }

  /// Steps with a checkpoint, ascending.
  var savedSteps: [Int] {
    (try? CheckpointStore(folder: path + "/checkpoints").steps) ?? []
  }

  /// Of the model, as the newest checkpoint has it.
  var parameterCount: Int {
    get throws { try Checkpoint.open(path) { _ in }.layout.count }
  }

  /// The last step the run has recorded; 0 before the first.
  var lastStep: Int {
    get throws { try RunResult.stepLines(run: path, lastMayBeCut: true).keys.max() ?? 0 }
  }

  /// Waits until the run has recorded a step.
  func waitForStep(_ step: Int, of job: Job) throws {
    try eventually("step \(step) of \(path)") {
      guard try lastStep < step else { return true }
      try #require(job.isRunning, "the job ended before step \(step): \(job.errorSoFar)")
      return nil
    }
  }
}

extension TinyRun {
  private static let sharedPath = Result<String, any Error> {
    let scratch = try CopyData.scratch
    let run = try TinyRun(name: "trained", in: scratch)
    try run.finish()
    return run.path
  }

  /// A finished run that no test may change.
  static var trained: String { get throws { try sharedPath.get() } }
}

/// What must not depend on the number of ranks or on restarts.
struct RunResult {
  private var vectors: [String: [UInt8]] = [:]
  private var facts: [String: String] = [:]

  init(run: String) throws {
    var reports: [String] = []
    let checkpoint = try Checkpoint.open(run) { reports.append($0) }
    try #require(reports.isEmpty)
    let buffer = FloatBuffer(count: checkpoint.layout.count)
    for vector in StateVector.allCases {
      try checkpoint.read(0..<checkpoint.layout.count, of: vector, into: buffer.view)
      for entry in checkpoint.layout.entries {
        vectors["\(vector.rawValue) \(entry.name)"] = Array(buffer.view[entry.range].bytes)
      }
    }
    let header = checkpoint.header
    facts["checkpoint"] =
      "step \(header.step), position \(header.position),"
      + " \(header.tokensSeen) tokens, layout \(checkpoint.layout.entries.map(\.name))"
    for (step, line) in try Self.stepLines(run: run) { facts["step \(step)"] = line }
    for (step, line) in try Self.validationLines(run: run) { facts["validation \(step)"] = line }
  }

  var stepCount: Int { facts.keys.count { $0.hasPrefix("step ") } }

  /// Names of tensors and steps that are not the same, byte for byte.
  func differences(from other: RunResult) -> [String] {
    let names = Set(vectors.keys).union(other.vectors.keys)
      .filter { vectors[$0] != other.vectors[$0] }
    let events = Set(facts.keys).union(other.facts.keys).filter { facts[$0] != other.facts[$0] }
      .map { "\($0): \(facts[$0] ?? "missing") | \(other.facts[$0] ?? "missing")" }
    return names.sorted() + events.sorted()
  }

  /// The part of each step's line that no machine and no moment may change.
  ///
  /// A step that was computed more than once must have been recorded with the same bytes.
  static func stepLines(run: String, lastMayBeCut: Bool = false) throws -> [Int: String] {
    try lines("step", until: ",\"tokens_per_second\"", run: run, lastMayBeCut)
  }

  private static func validationLines(run: String) throws -> [Int: String] {
    try lines("validation", until: ",\"seconds\"", run: run, false)
  }

  private static func lines(
    _ event: String, until end: String, run: String, _ lastMayBeCut: Bool
  ) throws -> [Int: String] {
    guard let text = try? String(contentsOfFile: run + "/events.jsonl", encoding: .utf8) else {
      return [:]
    }
    var result: [Int: String] = [:]
    var all = text.split(separator: "\n")
    if lastMayBeCut, text.last != "\n" { _ = all.popLast() }
    for line in all where line.hasPrefix("{\"event\":\"\(event)\"") {
      let start = try #require(line.range(of: "\"step\":")).lowerBound
      let stop = try #require(line.range(of: end)).lowerBound
      let part = String(line[start..<stop])
      let step = try #require(Int(part.dropFirst(7).prefix { $0 != "," }))
      #expect(result[step, default: part] == part, "step \(step) of \(run) came out differently")
      result[step] = part
    }
    return result
  }
}
