import Foundation

/// An open folder: what is in it is reached by name from its descriptor, whatever its path means by
/// then, and links in it are not followed.
package struct OpenFolder: ~Copyable, Sendable {
  package let path: String
  let descriptor: Int32

  /// Opens a folder that a person named: links on the way to it are that person's.
  ///
  /// Throws: `Failure` (.missingInput; .inputOutput and .internal as `OpenFile(reading:)`).
  package init(_ path: String) throws(Failure) {
    try self.init(path, open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC))
  }

  /// Opens a folder in another.
  ///
  /// Throws: `Failure` (.badData when a link or a file has its name, and as above).
  package init(_ name: String, in folder: borrowing OpenFolder) throws(Failure) {
    let path = folder.path + "/" + name
    let flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC
    let opened = openat(folder.descriptor, name, flags)
    if opened < 0, errno == ELOOP || errno == ENOTDIR {
      throw Failure(.badData, "\(path): is a link or a file; a folder was expected")
    }
    try self.init(path, opened)
  }

  private init(_ path: String, _ opened: Int32) throws(Failure) {
    guard opened >= 0 else {
      throw FileSystem.failure(OpenFile.exitCode(errno, else: .missingInput), "open", path)
    }
    self.path = path
    descriptor = opened
  }

  deinit { close(descriptor) }

  /// The folder that a row of names leads to.
  consuming func descended(_ names: ArraySlice<String>) throws(Failure) -> OpenFolder {
    guard let name = names.first else { return self }
    return try OpenFolder(name, in: self).descended(names.dropFirst())
  }

  /// What stands under a name in it; nil when nothing does or it cannot be looked at.
  func status(of name: String) -> stat? {
    var status = stat()
    return fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 ? status : nil
  }

  /// Whether it still is what a path means, without a link at its end.
  package func stands(at path: String) -> Bool {
    var (own, found) = (stat(), stat())
    return fstat(descriptor, &own) == 0 && lstat(path, &found) == 0
      && own.st_dev == found.st_dev && own.st_ino == found.st_ino
  }

  /// Gives a file in it another name in it, and makes that durable.
  ///
  /// Throws: `Failure(.inputOutput)`; the previous file of that name, if any, is untouched unless
  /// only the sync failed.
  func rename(_ old: String, to new: String) throws(Failure) {
    guard renameat(descriptor, old, descriptor, new) == 0 else {
      throw FileSystem.failure(.inputOutput, "rename to \(new)", "\(path)/\(old)")
    }
    guard fsync(descriptor) == 0 else { throw FileSystem.failure(.inputOutput, "sync", path) }
  }

  /// Removes a name of a file in it, as far as there is one.
  func removeFile(_ name: String) { unlinkat(descriptor, name, 0) }
}
