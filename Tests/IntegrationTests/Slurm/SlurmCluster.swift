import Foundation
import Testing

/// Real Slurm on nodes n1, n2, ..., of `Tests/Cluster/slurm/slurm`; brought up once for all tests
/// of this process, and gone with it.
final class SlurmCluster: Sendable {
  /// `launch/test` asks for it: "1" for the tests of every change, "all" for every combination.
  static let wanted = ProcessInfo.processInfo.environment["LOCKSTEP_CLUSTER"] ?? ""

  /// Three for jobs, and one that is spare to all of them.
  static let nodeCount = wanted == "all" ? 4 : 3

  private static let skipped: Int32 = 77
  private nonisolated(unsafe) static var owner: SlurmCluster?

  private static let started = Result<SlurmCluster, any Error> {
    let cluster = try SlurmCluster()
    owner = cluster
    atexit { SlurmCluster.owner = nil }
    return cluster
  }

  static var shared: SlurmCluster { get throws { try started.get() } }

  /// Why there is none on this machine; nil where it works, or fails and so must be looked at.
  static let problem: String? = {
    do {
      _ = try started.get()
      return nil
    } catch let error as Absent {
      FileHandle.standardError.write(Data("\(error.reason)\n".utf8))
      return error.reason
    } catch { return nil }
  }()

  private struct Absent: Error {
    let reason: String
  }

  private let scratch: Scratch
  private let folder: String
  /// What all nodes see; the home of their user.
  let share: String
  /// The program with its configurations and scripts, as in a clone.
  let clone: String
  let data: String

  private init() throws {
    scratch = try Scratch()
    folder = scratch.path + "/slurm"
    share = folder + "/share"
    clone = share + "/lockstep"
    data = share + "/data"
    do {
      try start()
      try fill()
    } catch {
      end()
      throw error
    }
  }

  deinit { end() }

  private func end() { _ = try? Job([Program.slurm, folder, "down"], in: scratch).outcome() }

  private func start() throws {
    let outcome = try Job(
      [Program.slurm, folder, "up", String(Self.nodeCount), String(getpid())], in: scratch
    ).outcome()
    if outcome.exitCode == Self.skipped { throw Absent(reason: outcome.errorLines.last ?? "") }
    try #require(outcome.exitCode == 0, "\(outcome.error)")
  }

  private func fill() throws {
    let files = FileManager.default
    try files.createDirectory(
      atPath: clone + "/.build/release", withIntermediateDirectories: true)
    try files.copyItem(
      atPath: try #require(Program.path), toPath: clone + "/.build/release/lockstep")
    for folder in ["configs", "launch"] {
      try files.copyItem(atPath: "\(Program.repository)/\(folder)", toPath: "\(clone)/\(folder)")
    }
    try files.copyItem(atPath: try CopyData.path, toPath: data)
    try own(share)
  }

  /// Gives a folder and all in it to the nodes' user.
  func own(_ path: String) throws {
    let outcome = try Job(["chown", "-R", "4000:4000", path], in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
  }

  // MARK: - What is done to it

  @discardableResult
  func control(_ words: String...) throws -> String {
    let outcome = try Job([Program.slurm, folder] + words, in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(words): \(outcome.error)")
    return outcome.output
  }

  /// Runs a command on the head as the nodes' user, in the clone.
  func user(_ words: [String]) throws -> Outcome {
    try Job(
      [Program.slurm, folder, "user", "env", "-C", clone] + words, in: scratch
    ).outcome()
  }

  /// As the administrator, who may do all.
  @discardableResult
  func administrator(_ words: String...) throws -> Outcome {
    try Job([Program.slurm, folder, "on", "head"] + words, in: scratch).outcome()
  }

  /// Ends what a test has left, and waits until all nodes are there for the next.
  func restore() throws {
    try administrator("scancel", "--user=trial")
    for node in 1...Self.nodeCount { try control("heal", String(node)) }
    try eventually(within: 90, "idle nodes") {
      let all = try administrator("sinfo", "--noheader", "--Node", "--format=%N %T", "-p", "low")
      let states = all.output.split(separator: "\n").map { $0.split(separator: " ") }
      for state in states where state.count == 2 && !state[1].hasPrefix("idle") {
        guard state[1].hasPrefix("down") || state[1].hasPrefix("drain") else { continue }
        try administrator("scontrol", "update", "nodename=\(state[0])", "state=resume")
      }
      usleep(200_000)
      return states.count == Self.nodeCount && states.allSatisfy { $0[1] == "idle" } ? true : nil
    }
  }

  /// The number of the node on which a process runs.
  func node(of process: Int32) throws -> Int {
    let name = try Job(
      ["nsenter", "--target", "\(process)", "--uts", "hostname"], in: scratch
    ).outcome().output
    return try #require(Int(name.dropFirst().prefix { $0.isNumber }), "a process of \(name)")
  }
}

/// A job of the cluster; it keeps its number when it is queued again.
struct SlurmJob {
  let cluster: SlurmCluster
  let number: String
  let log: String

  /// - Parameters:
  ///   - options: of sbatch.
  ///   - words: the script and its arguments.
  init(
    _ options: [String], _ words: [String], log: String, on cluster: SlurmCluster
  ) throws {
    self.cluster = cluster
    self.log = log
    let outcome = try cluster.user(["sbatch", "--parsable", "--output=\(log)"] + options + words)
    number = outcome.output.trimmingCharacters(in: .whitespacesAndNewlines)
    try #require(outcome.exitCode == 0 && !number.isEmpty, "\(outcome.error)")
  }

  /// What Slurm knows of it, by name.
  func facts() throws -> [String: String] {
    let text = try cluster.user(["scontrol", "show", "job", "--oneliner", number]).output
    let pairs = text.split(separator: " ").compactMap { word -> (String, String)? in
      let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return parts.count == 2 ? (String(parts[0]), String(parts[1])) : nil
    }
    return Dictionary(pairs) { first, _ in first }
  }

  var state: String { get throws { try facts()["JobState"] ?? "" } }

  var text: String {
    String(decoding: (try? Data(contentsOf: URL(fileURLWithPath: log))) ?? Data(), as: UTF8.self)
  }

  func cancel(_ options: String...) throws {
    let outcome = try cluster.user(["scancel"] + options + [number])
    try #require(outcome.exitCode == 0, "\(outcome.error)")
  }

  /// Waits until Slurm says that it is in one of these states; returns what it says.
  @discardableResult
  func wait(
    for states: Set<String>, within seconds: Double = 120
  ) throws -> [String: String] {
    try eventually(within: seconds, "job \(number) \(states): \(text)") {
      let facts = try facts()
      if let state = facts["JobState"], states.contains(state) { return facts }
      usleep(200_000)
      return nil
    }
  }

  static let ends: Set<String> = [
    "COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY",
  ]

  @discardableResult
  func waitForEnd(within seconds: Double = 120) throws -> [String: String] {
    try wait(for: Self.ends, within: seconds)
  }
}
