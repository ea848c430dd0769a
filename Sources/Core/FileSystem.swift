import Foundation

/// File operations that leave either the old state or the new one, whatever happens in between.
package enum FileSystem {
  /// Publishes `bytes` at `path`: writes a neighbour, syncs it, renames it, syncs the folder.
  ///
  /// Throws: `Failure` (.cannotCreate or .inputOutput); the previous file, if any, is untouched and the
  /// neighbour is gone.
  package static func writeAtomically(_ bytes: [UInt8], to path: String) throws(Failure) {
    let temporary = path + ".tmp-\(getpid())"
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw failure(.cannotCreate, "create", temporary) }
    do throws(Failure) {
      do throws(Failure) {
        try bytes.withUnsafeBytes { raw in
          Result { () throws(Failure) in
            try writeAll(raw, to: descriptor, at: 0, path: temporary)
          }
        }.get()
        guard fsync(descriptor) == 0 else { throw failure(.inputOutput, "sync", temporary) }
      } catch {
        close(descriptor)
        throw error
      }
      guard close(descriptor) == 0 else { throw failure(.inputOutput, "close", temporary) }
      try rename(temporary, to: path)
    } catch {
      unlink(temporary)
      throw error
    }
  }

  /// Renames a file or folder and makes the rename durable.
  package static func rename(_ old: String, to new: String) throws(Failure) {
    guard Foundation.rename(old, new) == 0 else {
      throw failure(.inputOutput, "rename to \(new)", old)
    }
    try syncFolder(URL(fileURLWithPath: new).deletingLastPathComponent().path)
  }

  /// Makes the names in a folder durable.
  package static func syncFolder(_ path: String) throws(Failure) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(.inputOutput, "open", path) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw failure(.inputOutput, "sync", path) }
  }

  /// Writes every byte at an offset, through short writes and interruptions.
  package static func writeAll(
    _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int, path: String
  ) throws(Failure) {
    var done = 0
    while done < bytes.count {
      let remaining = UnsafeRawBufferPointer(rebasing: bytes[done...])
      let count = pwrite(descriptor, remaining.baseAddress, remaining.count, off_t(offset + done))
      if count < 0 {
        if errno == EINTR { continue }
        throw failure(.inputOutput, "write", path)
      }
      done += count
    }
  }

  /// Size of a file in bytes.
  ///
  /// Throws: `Failure` (.missingInput).
  package static func byteCount(of path: String) throws(Failure) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { throw failure(.missingInput, "open", path) }
    return Int(status.st_size)
  }

  /// Creates a folder and its parents; one that exists already is fine.
  package static func createFolder(_ path: String) throws(Failure) {
    do {
      try FileManager.default.createDirectory(
        atPath: path, withIntermediateDirectories: true)
    } catch {
      throw Failure(.cannotCreate, "\(path): cannot create the folder (\(reason(errno)))")
    }
  }

  /// The text of the current `errno` behind a verb and a path.
  package static func failure(_ code: ExitCode, _ verb: String, _ path: String) -> Failure {
    Failure(code, "\(path): cannot \(verb) (\(reason(errno)))")
  }

  private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
