import Core
import Foundation
import Logging

/// Writes what one rank logs to its own file, a line a message:
/// `2026-01-31T12:00:00.000Z rank 00003 step 000000120 warning: message key=value`.
///
/// The step is the metadata value `step`. A line that cannot be written is dropped: a log must not
/// stop what it describes.
package struct RankLogHandler: LogHandler {
  package var logLevel = Logger.Level.info
  package var metadata: Logger.Metadata = [:]
  private let rank: String
  private let file: LogFile

  /// Throws: `Failure` (.cannotCreate when the file cannot be opened, .badData when something else
  /// is in its place).
  package init(_ paths: RunPaths, rank: Int) throws(Failure) {
    file = LogFile(try paths.open(paths.log(rank: rank), for: .appending))
    self.rank = zeroPadded(rank, width: 5)
  }

  package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  package func log(event: LogEvent) {
    var all = metadata
    if let own = event.metadata { all.merge(own) { $1 } }
    let step = all.removeValue(forKey: "step").map { "\($0)" } ?? "-"
    let details = all.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
    let text = "\(event.message)\(details)".allLines.joined(separator: "\\n")
    let line = "\(Timestamp.now) rank \(rank) step \(step) \(event.level): \(text)"
    // Names from files are in it, and logs are read on terminals.
    file.append(escaped(line) + "\n")
  }
}

extension RankLogHandler {
  /// A logger of its own for one rank, which no other part of the process shares.
  package static func logger(_ paths: RunPaths, rank: Int) throws(Failure) -> Logger {
    let handler = try RankLogHandler(paths, rank: rank)
    return Logger(label: "lockstep") { _ in handler }
  }
}

/// A text file that only grows, one whole line a call; shared by the copies of a handler.
private final class LogFile: Sendable {
  private let file: OpenFile

  init(_ file: consuming OpenFile) { self.file = file }

  func append(_ line: String) { _ = file.append(Array(line.utf8)) }
}

/// Decimal digits, at least `width` of them.
func zeroPadded(_ value: Int, width: Int) -> String {
  let digits = String(value)
  return String(repeating: "0", count: max(0, width - digits.count)) + digits
}
