import Foundation

/// The results of a command. Whatever cannot be written is a failure of the command: a result that
/// nobody has got is none.
package enum StandardOutput {
  /// Throws: `Failure(.inputOutput)` when not everything could be written.
  package static func write(_ bytes: some Sequence<UInt8>) throws(Failure) {
    guard FileSystem.writeAll(Array(bytes), to: STDOUT_FILENO) else {
      throw FileSystem.failure(.inputOutput, "write", "standard output")
    }
  }

  /// Writes a text and a line end.
  ///
  /// Throws: `Failure(.inputOutput)` when not everything could be written.
  package static func say(_ text: String) throws(Failure) { try write((text + "\n").utf8) }

  /// The last of it: some file systems say only now that there was no room.
  ///
  /// Throws: `Failure(.inputOutput)`.
  package static func finish() throws(Failure) {
    // What other code has printed.
    guard fflush(nil) == 0, close(STDOUT_FILENO) == 0 || errno == EBADF else {
      throw FileSystem.failure(.inputOutput, "write", "standard output")
    }
  }

  /// Makes sure that the three standard descriptors are taken, whatever this process was started
  /// with: a file that is opened later must not be where somebody prints to. What was closed cannot
  /// be written to or read from.
  package static func takeDescriptors() {
    for (descriptor, mode) in [
      (STDIN_FILENO, O_WRONLY), (STDOUT_FILENO, O_RDONLY), (STDERR_FILENO, O_RDONLY),
    ] where fcntl(descriptor, F_GETFD) < 0 {
      // The lowest that is free is this one.
      _ = open("/dev/null", mode)
    }
  }
}
