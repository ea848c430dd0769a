import Foundation

/// File operations that leave either the old state or the new one, whatever happens in between.
package enum FileSystem {
  /// Publishes `bytes` at `path`: writes a neighbour, syncs it, renames it, syncs the folder.
  ///
  /// Throws: `Failure` (.cannotCreate or .inputOutput); the neighbour is gone and the previous
  /// file, if any, untouched, unless only the last sync failed: then the new one is there, though a
  /// crash may still undo it.
  package static func writeAtomically(_ bytes: [UInt8], to path: String) throws(Failure) {
    let name = name(of: path)
    let folder: OpenFolder
    do throws(Failure) {
      folder = try OpenFolder(parent(of: path))
    } catch {
      throw Failure(.cannotCreate, "\(path): cannot be made (\(error.message))")
    }
    let temporary = name + ".tmp-\(getpid())"
    // A process of this number may have left it; and it may be a link of somebody else's.
    folder.removeFile(temporary)
    let file = try OpenFile(creating: temporary, in: folder)
    do throws(Failure) {
      try bytes.withUnsafeBytes { raw in
        Result { () throws(Failure) in try file.write(raw, at: 0) }
      }.get()
      try file.sync()
      try folder.rename(temporary, to: name)
    } catch {
      folder.removeFile(temporary)
      throw error
    }
  }

  /// Renames a file or folder and makes the rename durable.
  ///
  /// Throws: `Failure(.inputOutput)` when nothing was renamed, or when it was and a crash may still
  /// undo it.
  package static func rename(_ old: String, to new: String) throws(Failure) {
    try move(old, to: new)
    try syncFolder(parent(of: new))
  }

  private static func move(_ old: String, to new: String) throws(Failure) {
    guard Foundation.rename(old, new) == 0 else {
      throw failure(.inputOutput, "rename to \(new)", old)
    }
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

  /// Writes every byte to a terminal, pipe or file, through short writes and interruptions. An end
  /// that somebody has made one that does not wait is waited for.
  ///
  /// Returns: false, with `errno`, when not everything could be written.
  package static func writeAll(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    var done = 0
    while done < bytes.count {
      let count = bytes[done...].withUnsafeBytes {
        write(descriptor, $0.baseAddress, $0.count)
      }
      if count > 0 {
        done += count
      } else if errno == EAGAIN {
        var room = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&room, 1, -1)
      } else if errno != EINTR {
        return false
      }
    }
    return true
  }

  /// Size of a file in bytes.
  ///
  /// Throws: `Failure` (.missingInput).
  package static func byteCount(of path: String) throws(Failure) -> Int {
    var status = stat()
    guard stat(path, &status) == 0 else { throw failure(.missingInput, "open", path) }
    return Int(status.st_size)
  }

  /// All bytes of a file that is not larger than `limit`.
  ///
  /// - Parameter followsLinks: false refuses links, pipes and devices without waiting for them.
  /// Throws: `Failure` (.missingInput, .badData when it is larger, .inputOutput).
  package static func readAll(
    _ path: String, limit: Int, followsLinks: Bool = true
  ) throws(Failure) -> [UInt8] {
    let file = try followsLinks ? OpenFile(reading: path) : OpenFile(readingRegular: path)
    let byteCount = try file.byteCount()
    guard byteCount <= limit else {
      throw Failure(.badData, "\(path): has \(byteCount) bytes, at most \(limit) were expected")
    }
    return try file.read(byteCount: byteCount, at: 0)
  }

  /// The absolute path of the program this process runs.
  ///
  /// Throws: `Failure` (.internal; .unavailable when text cannot hold the path).
  package static func executablePath() throws(Failure) -> String {
    var bytes = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = bytes.withUnsafeMutableBytes { raw in
      raw.withMemoryRebound(to: CChar.self) { text in
        text.baseAddress.map { readlink("/proc/self/exe", $0, text.count) } ?? -1
      }
    }
    guard count > 0 else {
      throw failure(.internal, "tell which program this is", "/proc/self/exe")
    }
    guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
      throw Failure(
        .unavailable,
        "\(String(decoding: bytes[..<count], as: UTF8.self)): this program lies in a folder whose"
          + " name is not UTF-8, so it cannot be started again by its path; move it")
    }
    return text
  }

  /// Whether something of that name exists.
  package static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

  /// Whether there certainly is nothing of that name: a place that cannot be looked at may hold it.
  package static func isAbsent(_ path: String) -> Bool {
    access(path, F_OK) != 0 && errno == ENOENT
  }

  /// Removes a file, or a folder with all it contains; one that is gone already is fine.
  package static func remove(_ path: String) throws(Failure) {
    guard kind(of: path) != nil else { return }
    do {
      try FileManager.default.removeItem(atPath: path)
    } catch {
      throw Failure(.inputOutput, "\(path): cannot be removed (\(error.localizedDescription))")
    }
  }

  /// Names in a folder, sorted; without those that are not UTF-8, none of which is ours.
  ///
  /// Throws: `Failure` (.missingInput), also when the folder cannot be read.
  package static func names(in folder: String) throws(Failure) -> [String] {
    try entries(of: folder).compactMap { $0 }.sorted()
  }

  /// Whether nothing is in a folder.
  ///
  /// Throws: as `names`.
  package static func isEmpty(_ folder: String) throws(Failure) -> Bool {
    try entries(of: folder).isEmpty
  }

  /// Names in a folder; nil for one that is not UTF-8.
  private static func entries(of folder: String) throws(Failure) -> [String?] {
    guard let stream = opendir(folder) else {
      throw failure(.missingInput, "list the folder", folder)
    }
    defer { closedir(stream) }
    var names: [String?] = []
    errno = 0
    while let entry = readdir(stream) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) { place in
        place.withMemoryRebound(to: CChar.self, capacity: 256) { String(validatingCString: $0) }
      }
      if name != ".", name != ".." { names.append(name) }
      errno = 0
    }
    guard errno == 0 else { throw failure(.missingInput, "list the folder", folder) }
    return names
  }

  /// Puts `new` in the place of `old`, whether or not that exists, at once and durably; what was
  /// there is afterwards found under the name of `new`. Both lie in one folder.
  ///
  /// Throws: `Failure(.inputOutput)`. What was at `old` is still there or, where `new` is there but
  /// a crash may undo it, at `aside(of: old)`; it is not under the name of `new`, so that a caller
  /// who cleans up does not remove it.
  package static func exchange(_ new: String, with old: String) throws(Failure) {
    guard exists(old) else { return try rename(new, to: old) }
    let (folder, aside) = (parent(of: old), aside(of: old))
    if exchangeNames?(AT_FDCWD, new, AT_FDCWD, old, 1 << 1 /* RENAME_EXCHANGE */) == 0 {
      do throws(Failure) {
        try syncFolder(folder)
      } catch {
        try move(new, to: aside)
        throw error
      }
      return
    }
    // Some network file systems cannot exchange: then there is a moment without either.
    try move(old, to: aside)
    do throws(Failure) {
      try move(new, to: old)
    } catch {
      try move(aside, to: old)
      throw error
    }
    try syncFolder(folder)
    try rename(aside, to: new)
  }

  /// Where an exchange that ended halfway leaves what was at a path.
  package static func aside(of path: String) -> String { path + asideSuffix }

  package static let asideSuffix = ".replaced-by-lockstep"

  /// renameat2, which Glibc's module map leaves out; nil where the C library has none.
  private static let exchangeNames = dlsym(nil, "renameat2").map {
    unsafeBitCast(
      $0,
      to: (@convention(c) (Int32, UnsafePointer<CChar>, Int32, UnsafePointer<CChar>, UInt32)
        -> Int32).self)
  }

  /// Free bytes for an ordinary user on the disk of `path`; nil when that cannot be told.
  package static func freeByteCount(at path: String) -> Int? {
    var status = statvfs()
    guard statvfs(path, &status) == 0 else { return nil }
    return Int(clamping: UInt64(status.f_bavail) &* UInt64(status.f_frsize))
  }

  /// Creates a folder and its parents, durably; one that exists already is fine.
  ///
  /// Throws: `Failure` (.cannotCreate).
  package static func createFolder(_ path: String) throws(Failure) {
    if mkdir(path, 0o777) == 0 { return try syncFolder(parent(of: path)) }
    if errno == ENOENT, parent(of: path) != path {
      try createFolder(parent(of: path))
      if mkdir(path, 0o777) == 0 { return try syncFolder(parent(of: path)) }
    }
    let code = errno
    if code == EEXIST, kind(of: path, followsLinks: true) == .folder { return }
    throw Failure(.cannotCreate, "\(path): cannot create the folder (\(reason(code, path)))")
  }

  /// Creates a folder that must not exist, in one that does.
  ///
  /// Throws: `Failure` (.cannotCreate).
  package static func createNewFolder(_ path: String) throws(Failure) {
    guard mkdir(path, 0o777) == 0 else {
      throw Failure(.cannotCreate, "\(path): cannot create the folder (\(reason(errno, path)))")
    }
  }

  /// What stands under a name.
  package enum Kind: Sendable {
    case regularFile, folder, link, other
  }

  /// What stands under a name; nil when nothing does or it cannot be looked at.
  package static func kind(of path: String, followsLinks: Bool = false) -> Kind? {
    var status = stat()
    guard (followsLinks ? stat(path, &status) : lstat(path, &status)) == 0 else { return nil }
    switch status.st_mode & S_IFMT {
    case S_IFREG: return .regularFile
    case S_IFDIR: return .folder
    case S_IFLNK: return .link
    default: return .other
    }
  }

  /// Removes one name of a file; one that is gone already is fine.
  package static func removeFile(_ path: String) throws(Failure) {
    guard unlink(path) == 0 || errno == ENOENT else {
      throw failure(.inputOutput, "remove", path)
    }
  }

  /// Removes a folder unless something is left in it; one that is gone already is fine.
  package static func removeFolderIfEmpty(_ path: String) throws(Failure) {
    guard rmdir(path) == 0 || [ENOENT, ENOTEMPTY, EEXIST].contains(errno) else {
      throw failure(.inputOutput, "remove", path)
    }
  }

  /// The text of the current `errno` behind a verb and a path.
  package static func failure(_ code: ExitCode, _ verb: String, _ path: String) -> Failure {
    Failure(code, "\(path): cannot \(verb) (\(reason(errno, path)))")
  }

  /// What a person named and is not there, in words, and the link that leads nowhere if that is
  /// why.
  package static func absence(of path: String, _ words: String) -> Failure {
    Failure(.missingInput, "\(path): \(words)" + (deadLink(on: path).map { " (\($0))" } ?? ""))
  }

  /// Whoever sees a link would not believe that nothing of its name is there, or that it exists.
  private static func reason(_ code: Int32, _ path: String) -> String {
    let isLinks = code == ENOENT || code == EEXIST || code == ELOOP
    return (isLinks ? deadLink(on: path) : nil) ?? String(cString: strerror(code))
  }
}
