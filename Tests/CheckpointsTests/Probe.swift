import Core
import Foundation

/// The programs beside the tests, run to their end.
enum Probe {
  /// Where they are; nil when they have not been built.
  static let folder: String? = {
    let argument = CommandLine.arguments.first { $0.hasSuffix(".xctest") }
    let folders = [argument, CommandLine.arguments.first].compactMap { $0 }
    return folders.map { FileSystem.parent(of: $0) }
      .first { FileSystem.exists($0 + "/CheckpointProbe") }
  }()

  /// Whether their system calls can be made to fail.
  static let canTrace: Bool = {
    var can = false
    try? withTemporaryFolder { place in
      can = (try? run(["strace", "-o", place + "/log", "true"]).status) == 0
    }
    return can && folder != nil
  }()

  struct Ending {
    let status: Int32
    let output: String
    let error: String
  }

  static func run(_ command: [String]) throws -> Ending {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    let (output, error) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardError = error
    try process.run()
    let said = output.fileHandleForReading.readDataToEndOfFile()
    let complained = error.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    let status = process.terminationStatus
    return Ending(
      status: process.terminationReason == .exit ? status : 128 + status,
      output: String(decoding: said, as: UTF8.self),
      error: String(decoding: complained, as: UTF8.self))
  }
}
