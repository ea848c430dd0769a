import Core
import Foundation
import Testing

/// A run that jobs of the cluster train, with a folder of its own.
final class SlurmTrial {
  enum Launcher: String, CaseIterable, Sendable {
    case mpirun, srun
  }

  private static let settings = ["checkpoint.every=100", "evaluation.every=1000"]
  /// The run has so many steps, and is disturbed after so many.
  static let steps = 1500
  /// Of a run that outlasts a minute, and a period of grace.
  static let longSteps = 12_000
  static let disturbedStep = 150
  /// All nodes are on the cores of this machine.
  private static let yielding = "--export=ALL,OMPI_MCA_mpi_yield_when_idle=1"

  private static let undisturbed = Result<RunResult, any Error> {
    try TinyRun(settings, steps: steps, in: Scratch()).finish()
  }

  private static let undisturbedLong = Result<RunResult, any Error> {
    try TinyRun(settings, steps: longSteps, in: Scratch()).finish()
  }

  let cluster: SlurmCluster
  let run: TinyRun
  let launcher: Launcher
  let nodes: Int
  private let scratch: Scratch
  private let steps: Int
  private var jobCount = 0

  init(_ launcher: Launcher, nodes: Int, isLong: Bool = false) throws {
    cluster = try SlurmCluster.shared
    self.launcher = launcher
    self.nodes = nodes
    steps = isLong ? Self.longSteps : Self.steps
    scratch = try Scratch(in: cluster.share)
    run = try TinyRun(Self.settings, steps: steps, data: cluster.data, in: scratch)
    try cluster.own(scratch.path)
  }

  deinit { try? cluster.restore() }

  /// Submits `launch/slurm.sbatch` as its comments say, for a rank a node.
  ///
  /// - Parameter spare: nodes that are in the job beside.
  func submit(_ options: [String] = [], spare: Int = 0) throws -> SlurmJob {
    jobCount += 1
    // In the place of the program and `train`.
    let arguments = Array(try run.command().dropFirst(2))
    let ranks = spare > 0 ? ["-np", String(nodes)] : []
    return try SlurmJob(
      ["--nodes=\(nodes + spare)", "--ntasks-per-node=1", Self.yielding] + options,
      ["launch/slurm.sbatch", "--launcher", launcher.rawValue] + ranks + arguments,
      log: "\(scratch.path)/job-\(jobCount).out", on: cluster)
  }

  /// Submits a job whose script is `srun lockstep train`, a rank a node.
  func submitWithoutSupervision() throws -> SlurmJob {
    jobCount += 1
    let words = ["exec", "srun", "--mpi=pmix", ".build/release/lockstep"]
    // In the place of the program.
    let line = (words + (try run.command().dropFirst())).joined(separator: " ")
    return try SlurmJob(
      ["--nodes=\(nodes)", "--ntasks-per-node=1", Self.yielding, "--wrap=\(line)"], [],
      log: "\(scratch.path)/job-\(jobCount).out", on: cluster)
  }

  // MARK: - Looking

  func waitForStep(_ step: Int = disturbedStep, of job: SlurmJob) throws {
    try eventually(within: 120, "step \(step): \(job.text)") {
      usleep(20_000)
      return try run.lastStep < step ? nil : true
    }
  }

  /// What Slurm says of the job once it has ended.
  ///
  /// - Parameter mayLinger: Slurm may not notice that it has; then it is cancelled.
  func end(
    of job: SlurmJob, within seconds: Double, mayLinger: Bool
  ) throws -> [String: String] {
    try eventually(within: seconds, "the end of job \(job.number): \(job.text)") {
      usleep(200_000)
      let facts = try job.facts()
      if SlurmJob.ends.contains(facts["JobState"] ?? "") { return facts }
      if mayLinger, try SlurmEnd.all(of: run).last?.code == 0 { try job.cancel() }
      return nil
    }
  }

  /// Ranks with the numbers of their nodes.
  var ranks: [(process: Int32, node: Int)] {
    get throws {
      try scratch.processes.filter { process in
        let words = Scratch.commandLine(of: process).split(separator: "\0")
        return words.count > 1 && words[0].hasSuffix("/lockstep") && words[1] == "train"
      }.map { ($0, try cluster.node(of: $0)) }
    }
  }

  /// The rank on the last node: not where the supervisor is, if there is another.
  func lastRank() throws -> (process: Int32, node: Int) {
    try #require(try ranks.max { $0.node < $1.node })
  }

  // MARK: - What must hold

  func expectUndisturbed() throws {
    #expect(try differences == [])
    #expect(try run.result().stepCount == steps)
  }

  var isUndisturbed: Bool { get throws { try differences.isEmpty } }

  /// From a run that nothing happened to.
  private var differences: [String] {
    get throws {
      let wanted = try (steps == Self.steps ? Self.undisturbed : Self.undisturbedLong).get()
      return try run.result().differences(from: wanted)
    }
  }

  /// Nothing of the run is left on any node.
  func expectNothingLeft() throws {
    try eventually(within: 30, "no process on any node") {
      usleep(50_000)
      return scratch.processes.isEmpty ? true : nil
    }
  }

  /// What each launch said at its end is what the next one found.
  func expectTruth() throws {
    let ends = try SlurmEnd.all(of: run)
    for end in ends where end.code == 75 {
      let saved = try #require(end.savedStep)
      let furthest = try lastStep(before: end.launch + 1)
      if end.reason.hasPrefix("stopped; step") {
        #expect(end.reason.hasPrefix("stopped; step \(saved) is saved"))
        #expect(furthest <= saved, "'\(end.reason)', but step \(furthest) was recorded")
      } else {
        #expect(furthest > saved || saved == 0, "'\(end.reason)'")
      }
      if let next = try firstStep(after: end.launch) {
        #expect(next == saved + 1, "'\(end.reason)', but the next launch began with step \(next)")
      }
    }
  }

  /// The steps each launch has recorded, in the order of the file.
  private func recorded() throws -> [(launch: Int, step: Int)] {
    let text = try String(contentsOfFile: run.path + "/events.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").map(String.init)
      .filter { $0.hasPrefix("{\"event\":\"step\"") }
      .map {
        (
          Int(try TinyRun.number("incarnation", in: $0)), Int(try TinyRun.number("step", in: $0))
        )
      }
  }

  private func firstStep(after launch: Int) throws -> Int? {
    try recorded().first { $0.launch > launch }?.step
  }

  private func lastStep(before launch: Int) throws -> Int {
    try recorded().filter { $0.launch < launch }.map(\.step).max() ?? 0
  }

  /// When a launch after the first recorded its first step.
  func goneOn() throws -> Date? {
    let text = try String(contentsOfFile: run.path + "/events.jsonl", encoding: .utf8)
    return try text.split(separator: "\n").map(String.init).first {
      $0.hasPrefix("{\"event\":\"step\"") && !$0.contains("\"incarnation\":1,")
    }.map(SlurmEnd.moment)
  }
}

/// How a launch ended, as the supervisor has recorded it.
struct SlurmEnd {
  let launch: Int
  let at: Date
  /// Nil for a death after which the same supervisor went on.
  let code: Int?
  let reason: String
  let savedStep: Int?

  static func all(of run: TinyRun) throws -> [SlurmEnd] {
    try run.supervisorLines("verdict").map { line in
      SlurmEnd(
        launch: Int(try TinyRun.number("incarnation", in: line)), at: try moment(line),
        code: Int(try TinyRun.number("exit_code", in: line)), reason: try text("reason", line),
        savedStep: line.contains("\"saved_step\":null")
          ? nil : Int(try TinyRun.number("saved_step", in: line)))
    }
  }

  static func deaths(of run: TinyRun) throws -> [SlurmEnd] {
    try run.supervisorLines("death").map { line in
      SlurmEnd(
        launch: Int(try TinyRun.number("incarnation", in: line)), at: try moment(line), code: nil,
        reason: try text("cause", line), savedStep: nil)
    }
  }

  static func moment(_ line: String) throws -> Date {
    let style = Date.ISO8601FormatStyle(includingFractionalSeconds: true)
    return try Date(try text("time", line), strategy: style)
  }

  private static func text(_ name: String, _ line: String) throws -> String {
    let start = try #require(line.range(of: "\"\(name)\":\"")).upperBound
    return String(line[start...].prefix { $0 != "\"" })
  }
}
