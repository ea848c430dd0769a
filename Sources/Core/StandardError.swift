import Foundation

/// The process's words to whoever started it, beside its results.
package enum StandardError {
  /// Writes one line by one call, so that lines of several ranks do not mix.
  package static func say(_ message: String) {
    // Names from files are in it, and a terminal obeys what it is sent.
    tell("lockstep: \(escaped(message.replacing("\n", with: " ")))")
  }

  /// Writes one line as it is, by one call.
  package static func tell(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    // A closed stderr leaves nobody to tell.
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
