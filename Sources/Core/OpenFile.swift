import Foundation

/// An open file whose every call is checked and that closes itself.
package struct OpenFile: ~Copyable, Sendable {
  package let path: String
  /// For those who hand the open file to a child; it stays this value's to close.
  package let descriptor: Int32

  /// Opens a file for reading. Nobody waits for a pipe, which has no size and is refused by those
  /// who ask for it.
  ///
  /// Throws: `Failure` (.missingInput; .inputOutput when the disk fails; .internal when this
  /// process has no descriptor or no memory left).
  package init(reading path: String) throws(Failure) {
    try self.init(path, O_RDONLY | O_NONBLOCK, .missingInput, "open")
  }

  /// Opens a regular file for reading; a link, a pipe or a device of that name is refused and
  /// nobody waits for it.
  ///
  /// Throws: `Failure` (.badData, and as `init(reading:)`).
  package init(readingRegular path: String) throws(Failure) {
    try self.init(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, .missingInput, "open")
  }

  /// Creates a file that must not exist, for writing and reading back.
  ///
  /// Throws: `Failure` (.cannotCreate).
  package init(creating path: String) throws(Failure) {
    try self.init(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, .cannotCreate, "create")
  }

  /// Creates a file that must not exist in a folder, for writing and reading back.
  ///
  /// Throws: `Failure` (.cannotCreate).
  package init(creating name: String, in folder: borrowing OpenFolder) throws(Failure) {
    let path = folder.path + "/" + name
    let flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    let opened = openat(folder.descriptor, name, flags, 0o666)
    guard opened >= 0 else { throw FileSystem.failure(.cannotCreate, "create", path) }
    self.init(holding: path, opened)
  }

  private init(
    _ path: String, _ flags: Int32, _ exitCode: ExitCode, _ verb: String
  ) throws(Failure) {
    let opened = open(path, flags | O_CLOEXEC, 0o666)
    guard opened >= 0 else {
      // What open says of a link it must not follow would mislead.
      if errno == ELOOP, flags & O_NOFOLLOW != 0 {
        throw Failure(.badData, "\(path): is a link; a regular file was expected")
      }
      throw FileSystem.failure(OpenFile.exitCode(errno, else: exitCode), verb, path)
    }
    var status = stat()
    if flags & O_NOFOLLOW != 0,
      fstat(opened, &status) != 0 || status.st_mode & S_IFMT != S_IFREG
    {
      close(opened)
      throw Failure(.badData, "\(path): is not a regular file")
    }
    self.path = path
    descriptor = opened
  }

  /// What cannot be opened for a reason of the machine's is not missing.
  static func exitCode(_ code: Int32, else usual: ExitCode) -> ExitCode {
    guard usual == .missingInput else { return usual }
    switch code {
    case EMFILE, ENFILE, ENOMEM: return .internal
    case EIO, ESTALE: return .inputOutput
    default: return usual
    }
  }

  /// Takes over an open file.
  init(holding path: String, _ descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  /// The same open file once more: the same bytes, whatever its name means by now.
  ///
  /// Throws: `Failure` (.internal when this process has no descriptor left).
  package func duplicate() throws(Failure) -> OpenFile {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw FileSystem.failure(.internal, "duplicate", path) }
    return OpenFile(holding: path, copy)
  }

  deinit {
    // Whoever wrote has called `sync`: a close can no longer lose anything.
    close(descriptor)
  }

  package func byteCount() throws(Failure) -> Int {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileSystem.failure(.inputOutput, "look at", path)
    }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw Failure(.badData, "\(path): is not a regular file")
    }
    return Int(status.st_size)
  }

  /// Fills `destination` from an offset, through short reads and interruptions.
  ///
  /// Throws: `Failure` (.badData when the file ends before, .inputOutput when the disk fails).
  package func read(
    into destination: UnsafeMutableRawBufferPointer, at offset: Int
  ) throws(Failure) {
    var done = 0
    while done < destination.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: destination[done...])
      let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
      if count < 0 {
        if errno == EINTR { continue }
        throw FileSystem.failure(.inputOutput, "read", path)
      }
      guard count > 0 else {
        throw Failure(.badData, "\(path): ends at byte \(offset + done), more was expected")
      }
      done += count
    }
  }

  /// Reads a run of bytes.
  package func read(byteCount: Int, at offset: Int) throws(Failure) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: byteCount)
    try bytes.withUnsafeMutableBytes { raw in
      Result { () throws(Failure) in try read(into: raw, at: offset) }
    }.get()
    return bytes
  }

  /// Writes every byte at an offset.
  package func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) throws(Failure) {
    try FileSystem.writeAll(bytes, to: descriptor, at: offset, path: path)
  }

  /// Writes at the end of a file that was opened for that, by one call, so that lines of several
  /// processes do not mix. Returns how many bytes were taken, below zero with `errno` when none.
  package func append(_ bytes: [UInt8]) -> Int {
    bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
  }

  /// Sets the size and takes the room for it from the disk, so that later writes cannot run out.
  package func reserve(byteCount: Int) throws(Failure) {
    var code = posix_fallocate(descriptor, 0, off_t(byteCount))
    while code == EINTR { code = posix_fallocate(descriptor, 0, off_t(byteCount)) }
    guard code == 0 else {
      errno = code
      throw FileSystem.failure(.inputOutput, "reserve \(byteCount) bytes", path)
    }
    guard ftruncate(descriptor, off_t(byteCount)) == 0 else {
      throw FileSystem.failure(.inputOutput, "set the size to \(byteCount) bytes", path)
    }
  }

  /// Makes what was written durable.
  package func sync() throws(Failure) {
    guard fsync(descriptor) == 0 else { throw FileSystem.failure(.inputOutput, "sync", path) }
  }

  /// Asks the kernel to forget its copy of a run of bytes, so that a read after `sync` comes from
  /// the disk.
  package func forgetCachedBytes(at offset: Int, byteCount: Int) {
    // Advice only: from the cache, the read back still proves what was written.
    _ = posix_fadvise(descriptor, off_t(offset), off_t(byteCount), POSIX_FADV_DONTNEED)
  }
}
