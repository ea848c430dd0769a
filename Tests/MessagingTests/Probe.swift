import Foundation
import Testing

/// Runs of `MessagingProbe` as ranks of a real job.
enum Probe {
  struct Outcome {
    let exitCode: Int32
    let output: String
    let error: String
  }

  struct Hang: Error {
    let command: [String]
    let error: String
  }

  /// Many times what any of them takes.
  private static let hangSeconds = 300.0

  static func mpirun(
    _ ranks: Int, _ arguments: [String], environment: [String: String] = [:]
  ) throws -> Outcome {
    try run(
      ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", String(ranks), try path()]
        + arguments, environment)
  }

  /// Over hosts made of network namespaces; `layout` as `Tests/Cluster/cluster` takes it.
  static func cluster(
    _ options: [String] = [], layout: String, _ arguments: [String],
    environment: [String: String] = [:]
  ) throws -> Outcome {
    try run([clusterScript] + options + [layout, "--", try path()] + arguments, environment)
  }

  /// What a cluster with nothing to do ends with: 0, or 77 where namespaces are not permitted.
  static let isClusterPermitted: Bool = {
    do {
      let outcome = try run([clusterScript, "1", "--", "true"], [:])
      FileHandle.standardError.write(Data(outcome.error.utf8))
      return outcome.exitCode != 77
    } catch {
      return true
    }
  }()

  private static let clusterScript = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent()
    .appending(path: "Cluster/cluster").path

  /// The build puts the probe beside the test bundle.
  private static func path() throws -> String {
    let folder = try #require(CommandLine.arguments.first.map(URL.init(fileURLWithPath:)))
      .deletingLastPathComponent()
    let candidates = [folder, Bundle.main.bundleURL].map { $0.appending(path: "MessagingProbe") }
    return try #require(
      candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) }
    ).path
  }

  private static func run(
    _ command: [String], _ environment: [String: String]
  ) throws -> Outcome {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.environment = ProcessInfo.processInfo.environment.merging(
      [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
      ], uniquingKeysWith: { $1 }
    ).merging(environment, uniquingKeysWith: { $1 })
    process.standardInput = FileHandle.nullDevice
    // Files, not pipes: a full pipe that nobody reads yet would stop mpirun.
    let stem = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    defer { for kind in [".out", ".err"] { unlink(stem + kind) } }
    for kind in [".out", ".err"] {
      try #require(FileManager.default.createFile(atPath: stem + kind, contents: nil))
    }
    let output: FileHandle = try #require(FileHandle(forWritingAtPath: stem + ".out"))
    let error: FileHandle = try #require(FileHandle(forWritingAtPath: stem + ".err"))
    process.standardOutput = output
    process.standardError = error
    // At once: Foundation keeps a process's handles, and hears of no end above descriptor 1023.
    defer { for handle in [output, error] { try? handle.close() } }
    let ended = DispatchSemaphore(value: 0)
    process.terminationHandler = { _ in ended.signal() }
    try process.run()
    if ended.wait(timeout: .now() + hangSeconds) == .timedOut {
      // mpirun and the cluster take their ranks with them.
      process.terminate()
      _ = ended.wait(timeout: .now() + 10)
      kill(process.processIdentifier, SIGKILL)
      throw Hang(
        command: command, error: try String(contentsOfFile: stem + ".err", encoding: .utf8))
    }
    return Outcome(
      exitCode: process.terminationStatus,
      output: try String(contentsOfFile: stem + ".out", encoding: .utf8),
      error: try String(contentsOfFile: stem + ".err", encoding: .utf8))
  }
}
