import Core
import Foundation
import Synchronization

/// The kinds of lines in `events.jsonl`.
package enum EventKind: String, Sendable, CaseIterable {
  /// A launch; everything after it up to the next belongs to its incarnation.
  case start
  case step, validation, save, fault
  /// How a launch ended: all steps are done and saved; saved on request; asked to stop, but the
  /// last state could not be saved; given up, as the gradient stayed non-finite or too large.
  case end, stop, unsaved, diverged
  /// From here on the learning rate is another.
  case change
  /// What the supervisor did: the field `what` says which of its decisions it was.
  case supervisor
}

/// Appends events to `events.jsonl`, each one JSON object on one line:
/// `{"event":"step","incarnation":1,"time":"2026-01-31T12:00:00.000Z","step":50,...}`.
///
/// Recording never stops training: a line that cannot be written is counted, and the first problem
/// is handed out once. A line is written by one call in append mode, so lines of several processes
/// do not mix; what a crash or a full disk cut off is closed by the next line.
package final class EventLog: Sendable {
  private struct State {
    var lostLineCount = 0
    var unreportedProblem: String?
    /// A line was cut short, so the next one must not continue it.
    var endsInsideLine: Bool
  }

  private let file: OpenFile
  private let incarnation: Int
  private let state: Mutex<State>

  /// Throws: `Failure` (.cannotCreate when the file cannot be opened, .badData when something else
  /// is in its place).
  package init(_ paths: RunPaths, incarnation: Int) throws(Failure) {
    file = try paths.open(paths.events, for: .appending)
    self.incarnation = incarnation
    let size = try file.byteCount()
    let last = size > 0 ? try? file.read(byteCount: 1, at: size - 1) : nil
    let newline = UInt8(ascii: "\n")
    state = Mutex(State(endsInsideLine: last ?? [newline] != [newline]))
  }

  /// Lines that could not be written since the log was opened.
  package var lostLineCount: Int { state.withLock { $0.lostLineCount } }

  /// The first problem of writing, once: for the log and the terminal.
  package func takeProblem() -> String? {
    state.withLock { state in
      defer { state.unreportedProblem = nil }
      return state.unreportedProblem
    }
  }

  /// Appends one event; its time and incarnation are added.
  package func append(_ kind: EventKind, _ fields: [JSONValue.Field]) {
    let header: [JSONValue.Field] = [
      .init("event", .string(kind.rawValue)),
      .init("incarnation", .integer(incarnation)),
      .init("time", .string(Timestamp.now)),
    ]
    let line = JSONValue.object(header + fields).text + "\n"
    state.withLock { state in
      let bytes = Array(((state.endsInsideLine ? "\n" : "") + line).utf8)
      let count = file.append(bytes)
      if count == bytes.count {
        state.endsInsideLine = false
        return
      }
      let reason = count < 0 ? String(cString: strerror(errno)) : "the disk is full"
      if count > 0 { state.endsInsideLine = true }
      if state.lostLineCount == 0 {
        state.unreportedProblem = "\(file.path): an event could not be recorded (\(reason))"
      }
      state.lostLineCount += 1
    }
  }

  package func append(_ record: StepRecord) { append(.step, record.fields) }
  package func append(_ record: ValidationRecord) { append(.validation, record.fields) }
  package func append(_ record: SaveRecord) { append(.save, record.fields) }
}

/// Wall time as it stands in logs.
enum Timestamp {
  /// UTC with milliseconds, ISO 8601.
  static var now: String {
    Date.now.formatted(
      Date.ISO8601FormatStyle(includingFractionalSeconds: true, timeZone: .gmt))
  }
}
