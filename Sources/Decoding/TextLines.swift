import Core
import Foundation

/// The lines of a file descriptor, read as they come.
///
/// A line ends at a line feed, which is not part of it, nor is a carriage return before it; the
/// last line need not end.
package struct TextLines {
  private let descriptor: Int32
  private let name: String
  /// Bytes read and not yet given out.
  private var pending: [UInt8] = []
  /// Where in `pending` the next line starts, and how far it has been searched for its end.
  private var start = 0
  private var searched = 0
  private var isAtEnd = false
  /// Lines given out so far.
  package private(set) var count = 0

  /// - Parameter name: what messages call the input.
  package init(descriptor: Int32, name: String) {
    self.descriptor = descriptor
    self.name = name
  }

  /// The next line, or nil at the end.
  ///
  /// Throws: `Failure` (.badData) if the line is not UTF-8, (.inputOutput) if it cannot be read.
  package mutating func next() throws(Failure) -> String? {
    while true {
      if let end = pending[searched...].firstIndex(of: 0x0A) {
        defer {
          start = end + 1
          searched = start
        }
        return try text(pending[start..<end])
      }
      searched = pending.count
      if isAtEnd {
        guard start < pending.count else { return nil }
        defer { start = pending.count }
        return try text(pending[start...])
      }
      try readMore()
    }
  }

  private mutating func text(_ bytes: ArraySlice<UInt8>) throws(Failure) -> String {
    count += 1
    let line = bytes.last == 0x0D ? bytes.dropLast() : bytes
    guard let text = String(validating: line, as: UTF8.self) else {
      throw Failure(
        .badData, "\(name): line \(count) is not UTF-8; convert it, for example with iconv")
    }
    return text
  }

  private mutating func readMore() throws(Failure) {
    pending.removeSubrange(..<start)
    searched -= start
    start = 0
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    let count = read(descriptor, &chunk, chunk.count)
    if count < 0 {
      if errno == EINTR { return }
      throw FileSystem.failure(.inputOutput, "read", name)
    }
    isAtEnd = count == 0
    pending += chunk[..<count]
  }
}
