import Foundation
import Testing

/// The program under test and how it is started.
enum Program {
  /// How the processes of a job come to be.
  enum Launch: Hashable, Sendable, CustomTestStringConvertible {
    /// One process without mpirun.
    case alone
    case mpirun(Int)
    /// By the supervisor.
    case supervised(Int)
    /// Hosts of so many ranks each, as `Tests/Cluster/cluster` takes them: 2,1,1.
    case cluster(String)

    var testDescription: String {
      switch self {
      case .alone: "no mpirun"
      case .mpirun(let ranks): "mpirun -np \(ranks)"
      case .supervised(let ranks): "lockstep launch -np \(ranks)"
      case .cluster(let ranks): "hosts \(ranks)"
      }
    }

    var prefix: [String] {
      switch self {
      case .alone, .supervised: []
      case .mpirun(let ranks): Program.mpirun + ["-np", String(ranks)]
      case .cluster(let ranks):
        [Program.cluster, "--mca", "mpi_yield_when_idle", "1", ranks, "--"]
      }
    }
  }

  private static let mpirun = [
    "mpirun", "--mca", "orte_execute_quiet", "1", "--oversubscribe", "--bind-to", "none",
    "--mca", "mpi_yield_when_idle", "1",
  ]

  private static let cluster = repository + "/Tests/Cluster/cluster"
  static let slurm = repository + "/Tests/Cluster/slurm/slurm"

  /// What passes signals on to ranks.
  fileprivate static let launchers = ["mpirun", cluster, slurm]

  static let repository = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().path

  static let copyConfiguration = repository + "/configs/copy.yaml"

  /// The build puts the program beside the test bundle.
  static let path: String? = {
    let runner = CommandLine.arguments.first.map { URL(fileURLWithPath: $0) }
    return [runner?.deletingLastPathComponent(), Bundle.main.bundleURL]
      .compactMap { $0?.appending(path: "lockstep").path }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }()

  /// Whether system calls can be made to fail or wait.
  static let canTrace: Bool = {
    guard let scratch = try? Scratch(),
      let job = try? Job(["strace", "-o", "/dev/null", "true"], in: scratch)
    else { return false }
    return (try? job.outcome().exitCode) == 0
  }()

  static func command(_ arguments: [String], _ launch: Launch = .alone) throws -> [String] {
    if case .supervised(let ranks) = launch {
      // In the place of `train`.
      return try command(["launch", "-np", String(ranks)] + arguments.dropFirst())
    }
    return launch.prefix + [try #require(path, "lockstep is not beside the tests")] + arguments
  }

  /// A job whose ranks are started each with arguments of its own. A shell of each chooses: the
  /// mpirun of OpenMPI 5.0.7 dies of a line that names several programs.
  static func command(byRank arguments: [[String]]) throws -> [String] {
    let program = try #require(path, "lockstep is not beside the tests")
    let choices = arguments.enumerated().map { rank, words in
      "\(rank)) exec \(([program] + words).map { "'\($0)'" }.joined(separator: " ")) ;;"
    }
    let choice = "case $OMPI_COMM_WORLD_RANK in \(choices.joined(separator: " ")) esac"
    return mpirun + ["-np", String(arguments.count), "sh", "-c", choice]
  }

  /// For jobs that keep all they leave behind, even when killed, below `folder`.
  static func environment(temporaryFolder folder: String) -> [String: String] {
    ProcessInfo.processInfo.environment.merging(
      [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none", "OMPI_MCA_reachable": "weighted",
        "OMPI_MCA_btl_vader_backing_directory": folder, "TMPDIR": folder,
      ], uniquingKeysWith: { $1 })
  }
}

/// What a job has left: its exit code (128 + the signal that ended it) and what it said.
struct Outcome {
  let exitCode: Int32
  let output: String
  let error: String

  /// Without the notices of mpirun, each between two lines of dashes: OpenMPI 5 cannot be told to
  /// leave them out.
  var errorLines: [String] {
    var isNotice = false
    return error.split(separator: "\n").map(String.init).filter { line in
      let isDashes = line.count > 70 && line.allSatisfy { $0 == "-" }
      if isDashes { isNotice.toggle() }
      return !isNotice && !isDashes
    }
  }
}

/// A running program whose words go to files; nothing of it outlives the value.
final class Job {
  struct TookTooLong: Error {
    let command: [String]
    let error: String
  }

  private let process = Process()
  private let ended = DispatchSemaphore(value: 0)
  private let stem: String

  /// - Parameters:
  ///   - input: bytes of standard input.
  ///   - environment: what is added to the usual one.
  init(
    _ command: [String], input: Data = Data(), environment: [String: String] = [:],
    in scratch: Scratch
  ) throws {
    stem = scratch.path + "/job-\(UUID().uuidString)"
    // Files, not pipes: a full pipe that nobody reads yet would stop the job.
    try input.write(to: URL(fileURLWithPath: stem + ".in"))
    for kind in [".out", ".err"] {
      try Data().write(to: URL(fileURLWithPath: stem + kind))
    }
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.currentDirectoryURL = URL(fileURLWithPath: scratch.path)
    process.environment = Program.environment(temporaryFolder: scratch.path + "/tmp")
      .merging(environment, uniquingKeysWith: { $1 })
    let ownEnds = [
      try FileHandle(forReadingFrom: URL(fileURLWithPath: stem + ".in")),
      try FileHandle(forWritingTo: URL(fileURLWithPath: stem + ".out")),
      try FileHandle(forWritingTo: URL(fileURLWithPath: stem + ".err")),
    ]
    // At once: Foundation keeps a process's handles, and hears of no end above descriptor 1023.
    defer { for handle in ownEnds { try? handle.close() } }
    (process.standardInput, process.standardOutput, process.standardError) =
      (ownEnds[0], ownEnds[1], ownEnds[2])
    process.terminationHandler = { [ended] _ in ended.signal() }
    // The threads of a test runner block signals, which children inherit. The program has to cope;
    // mpirun would never hear what it is to pass on.
    let launches = command.first.map(Program.launchers.contains) ?? false
    var (none, before) = (sigset_t(), sigset_t())
    sigemptyset(&none)
    if launches { pthread_sigmask(SIG_SETMASK, &none, &before) }
    defer { if launches { pthread_sigmask(SIG_SETMASK, &before, nil) } }
    try process.run()
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  var isRunning: Bool { process.isRunning }

  func send(_ signal: Int32) { kill(process.processIdentifier, signal) }

  /// Waits for the end, which must come before the deadline.
  func outcome(deadlineSeconds: Double = 100) throws -> Outcome {
    guard ended.wait(timeout: .now() + deadlineSeconds) == .success else {
      throw TookTooLong(command: process.arguments ?? [], error: text(".err"))
    }
    ended.signal()
    let isSignal = process.terminationReason == .uncaughtSignal
    return Outcome(
      exitCode: process.terminationStatus + (isSignal ? 128 : 0), output: text(".out"),
      error: text(".err"))
  }

  /// What it has said on stderr until now.
  var errorSoFar: String { text(".err") }

  private func text(_ kind: String) -> String {
    let bytes = (try? Data(contentsOf: URL(fileURLWithPath: stem + kind))) ?? Data()
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// A folder of one test; with it go the files and the processes that name it.
final class Scratch: Sendable {
  let path: String

  /// - Parameter folder: where it is made; by default where temporary files are.
  init(in folder: String? = nil) throws {
    path =
      (folder.map { URL(fileURLWithPath: $0) } ?? FileManager.default.temporaryDirectory)
      .appending(path: "lockstep-it-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(
      atPath: path + "/tmp", withIntermediateDirectories: true)
  }

  deinit {
    kill()
    try? FileManager.default.removeItem(atPath: path)
  }

  /// Every process whose command line names this folder: launchers, ranks, tracers.
  var processes: [Int32] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.compactMap { Int32($0) }.filter { pid in
      pid != getpid() && Scratch.commandLine(of: pid).contains(path)
    }
  }

  /// The ranks among them: the program itself, not what launched it.
  var ranks: [Int32] {
    processes.filter { pid in
      let executable = Scratch.commandLine(of: pid).prefix { $0 != "\0" }
      return executable.hasSuffix("/lockstep")
    }
  }

  /// Waits for a rank that stands still at a fault point `stop`.
  func stoppedRank() throws -> Int32 {
    try eventually("a rank stops itself") { ranks.first(where: Scratch.isStopped) }
  }

  /// SIGKILL for the whole job at once, as a lost machine would do it.
  func kill() {
    let deadline = Date.now.addingTimeInterval(20)
    while true {
      let living = processes
      guard !living.isEmpty, .now < deadline else { return }
      for pid in living { Foundation.kill(pid, SIGKILL) }
      usleep(2000)
    }
  }

  @discardableResult
  func file(_ name: String, _ text: String) throws -> String {
    try file(name, Data(text.utf8))
  }

  @discardableResult
  func file(_ name: String, _ bytes: Data) throws -> String {
    try bytes.write(to: URL(fileURLWithPath: "\(path)/\(name)"))
    return "\(path)/\(name)"
  }

  /// Runs the program to its end.
  func run(
    _ arguments: [String], _ launch: Program.Launch = .alone, input: String = ""
  ) throws -> Outcome {
    try Job(try Program.command(arguments, launch), input: Data(input.utf8), in: self).outcome()
  }

  /// Whether somebody has stopped a process.
  static func isStopped(_ pid: Int32) -> Bool {
    guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8) else {
      return false
    }
    // The name, in parentheses, may hold anything.
    return text.split(separator: ")").last?.hasPrefix(" T") ?? false
  }

  /// Whether a process has a signal before it that it has not taken yet.
  static func hasPendingSignal(_ pid: Int32) -> Bool {
    let text = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    let line = text?.split(separator: "\n").first { $0.hasPrefix("ShdPnd:") }
    return line.flatMap { UInt64($0.dropFirst(7).drop { $0 == "\t" }, radix: 16) } ?? 0 != 0
  }

  static func commandLine(of pid: Int32) -> String {
    // A zombie has none.
    guard let file = fopen("/proc/\(pid)/cmdline", "r") else { return "" }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes[..<count], as: UTF8.self)
  }
}

/// Looks again every few milliseconds until it finds something.
@discardableResult
func eventually<Value>(
  within seconds: Double = 60, _ what: String, _ look: () throws -> Value?
) throws -> Value {
  let deadline = Date.now.addingTimeInterval(seconds)
  while true {
    if let value = try look() { return value }
    try #require(Date.now < deadline, "did not happen in \(seconds) s: \(what)")
    usleep(2000)
  }
}
