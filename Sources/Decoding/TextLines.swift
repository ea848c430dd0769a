import Core
import Foundation

/// The lines of a file descriptor, read as they come.
///
/// A line ends at a line feed, which is not part of it, nor is a carriage return before it; the
/// last line need not end.
package struct TextLines {
  /// Bytes a line may have: more is no text, and would be kept in memory to its end.
  package static let lineByteLimit = 1 << 20

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
  /// Throws: `Failure` (.badData) if the line is not UTF-8, has more bytes than `lineByteLimit` or
  /// holds all lines of a text that ends them with CR alone; (.inputOutput) if it cannot be read.
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
      guard pending.count - start <= Self.lineByteLimit else {
        throw Failure(
          .badData,
          "\(name): line \(count + 1) is longer than \(Self.lineByteLimit) bytes; split it into "
            + "sentences")
      }
      if isAtEnd {
        guard start < pending.count else { return nil }
        defer { start = pending.count }
        return try lastText(pending[start...])
      }
      try readMore()
    }
  }

  /// Whether what has come is answered best before there is more: the next line is not there and
  /// does not begin to come within a time. Never so at the end.
  ///
  /// Throws: `Failure` (.inputOutput) if the descriptor cannot be read.
  package mutating func pauses(milliseconds: Int32) throws(Failure) -> Bool {
    while pending[searched...].firstIndex(of: 0x0A) == nil, !isAtEnd,
      pending.count - start <= Self.lineByteLimit
    {
      searched = pending.count
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      let ready = poll(&waiting, 1, milliseconds)
      if ready == 0 { return true }
      // Interrupted by a signal, nobody knows whether there is something to read.
      if ready > 0 { try readMore() }
    }
    return false
  }

  /// Of a line that does not end.
  private mutating func lastText(_ bytes: ArraySlice<UInt8>) throws(Failure) -> String {
    guard count > 0 || !bytes.dropLast().contains(0x0D) else {
      throw Failure(
        .badData,
        "\(name): its lines end with CR alone; convert it, for example with tr '\\r' '\\n'")
    }
    return try text(bytes)
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
