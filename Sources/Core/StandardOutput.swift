import Foundation

/// The results of a command. Whatever cannot be written is a failure of the command: a result that
/// nobody has got is none.
package enum StandardOutput {
  /// Throws: `Failure(.inputOutput)` when not everything could be written.
  package static func write(_ bytes: some Sequence<UInt8>) throws(Failure) {
    let bytes = Array(bytes)
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        Foundation.write(STDOUT_FILENO, $0.baseAddress, $0.count)
      }
      if count > 0 {
        done += count
      } else if errno == EAGAIN {
        // Somebody has made the other end one that does not wait.
        var descriptor = pollfd(fd: STDOUT_FILENO, events: Int16(POLLOUT), revents: 0)
        poll(&descriptor, 1, -1)
      } else if errno != EINTR {
        throw FileSystem.failure(.inputOutput, "write", "standard output")
      }
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
