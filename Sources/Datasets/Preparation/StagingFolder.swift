import Core
import Foundation
import Synchronization

/// A folder that is built beside its final place and moved there whole at the end.
package struct StagingFolder: Sendable {
  /// Where the folder will appear.
  package let destination: String
  /// Where it is built.
  package let path: String

  /// Creates the folder to build in; what a process that is gone left behind is removed.
  ///
  /// Throws: `Failure` (.cannotCreate) when the destination holds something, or a folder cannot be
  /// made.
  package init(for destination: String) throws(Failure) {
    let place = URL(fileURLWithPath: destination).standardizedFileURL
    self.destination = place.path
    let parent = place.deletingLastPathComponent().path
    let prefix = ".\(place.lastPathComponent).partial-"
    path = "\(parent)/\(prefix)\(getpid())"
    try Self.checkIsFree(self.destination, named: destination)
    try FileSystem.createFolder(parent)
    Self.removeStale(prefix: prefix, in: parent)
    guard mkdir(path, 0o755) == 0 else { throw FileSystem.failure(.cannotCreate, "create", path) }
  }

  /// Makes every file durable and moves the folder to its place.
  ///
  /// Throws: `Failure` (.inputOutput, .cannotCreate); the folder is still where it was built.
  package func publish() throws(Failure) {
    for name in try Self.names(in: path) {
      let file = "\(path)/\(name)"
      let descriptor = open(file, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw FileSystem.failure(.inputOutput, "open", file) }
      defer { close(descriptor) }
      guard fsync(descriptor) == 0 else { throw FileSystem.failure(.inputOutput, "sync", file) }
    }
    try FileSystem.syncFolder(path)
    try Self.checkIsFree(destination, named: destination)
    try FileSystem.rename(path, to: destination)
  }

  private static let removal = Mutex(())

  /// Removes what was built; nothing happens when it is published or gone.
  ///
  /// - Parameter last: done before whoever else wants to remove it goes on.
  package func remove(then last: () -> Void = {}) {
    Self.removal.withLock { _ in
      // Whoever is still writing by name finds no folder then, and cannot fill it behind us.
      let gone = path + ".gone"
      if Foundation.rename(path, gone) == 0 { try? FileManager.default.removeItem(atPath: gone) }
      last()
    }
  }

  private static func checkIsFree(_ path: String, named name: String) throws(Failure) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    guard status.st_mode & S_IFMT == S_IFDIR, try names(in: path).isEmpty else {
      throw Failure(
        .cannotCreate,
        "\(name): expected nothing there or an empty folder, found something else; remove it or"
          + " name another")
    }
  }

  private static func names(in folder: String) throws(Failure) -> [String] {
    do {
      return try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
    } catch {
      throw Failure(.cannotCreate, "\(folder): cannot list the folder")
    }
  }

  private static func removeStale(prefix: String, in parent: String) {
    for name in (try? names(in: parent)) ?? [] where name.hasPrefix(prefix) {
      let number = name.dropFirst(prefix.count).prefix { $0 != "." }
      guard let process = pid_t(number) else { continue }
      let isGone = kill(process, 0) != 0 && errno == ESRCH
      if isGone || process == getpid() {
        try? FileManager.default.removeItem(atPath: "\(parent)/\(name)")
      }
    }
  }
}
