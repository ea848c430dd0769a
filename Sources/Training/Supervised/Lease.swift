import Core
import Foundation

/// The content of the lease file of a run directory: who supervises the run, and that it lives.
package struct Lease: Equatable, Sendable {
  package var job: String
  package var host: String
  /// Changes with every start of the host's kernel; empty where that cannot be told.
  package var boot: String
  package var process: Int32
  /// When the process started, in the kernel's ticks, so that a number used again is not mistaken.
  package var processStart: String
  /// ISO 8601, for people.
  package var started: String
  /// Of the newest launch.
  package var incarnation: Int
  /// Grows while the supervisor lives.
  package var beat: Int

  /// Between two beats.
  package static let intervalSeconds = 1.0
  private static let byteLimit = 1024

  package init(
    job: String, host: String, boot: String, process: Int32, processStart: String,
    started: String, incarnation: Int, beat: Int
  ) {
    self.job = job
    self.host = host
    self.boot = boot
    self.process = process
    self.processStart = processStart
    self.started = started
    self.incarnation = incarnation
    self.beat = beat
  }

  /// One word each, `-` for an empty one.
  package var bytes: [UInt8] {
    let words = [
      job, host, boot, "\(process)", processStart, started, "\(incarnation)", "\(beat)",
    ]
    return Array((words.map { $0.isEmpty ? "-" : $0 }.joined(separator: " ") + "\n").utf8)
  }

  package init?(bytes: [UInt8]) {
    let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isWhitespace)
      .map { $0 == "-" ? "" : String($0) }
    guard words.count == 8, SupervisedLaunch.isJob(words[0]), let process = Int32(words[3]),
      process > 0, let incarnation = Int(words[6]), let beat = Int(words[7]),
      // Whoever counts on from it must not overflow, whoever wrote it.
      0..<1 << 53 ~= beat
    else { return nil }
    self.init(
      job: words[0], host: words[1], boot: words[2], process: process, processStart: words[4],
      started: words[5], incarnation: incarnation, beat: beat)
  }

  /// What stands at a path now: opened anew, so that network file systems ask the server; nil where
  /// there is none or none can be read.
  package init?(at path: String) {
    guard let file = try? OpenFile(own: path, for: .reading), let byteCount = try? file.byteCount(),
      byteCount <= Self.byteLimit, let bytes = try? file.read(byteCount: byteCount, at: 0)
    else { return nil }
    self.init(bytes: bytes)
  }
}
