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
  /// Throws: `Failure` (.cannotCreate) when the destination holds something or cannot be replaced,
  /// or a folder cannot be made.
  package init(for destination: String) throws(Failure) {
    let name = FileSystem.name(of: destination)
    guard !["", ".", "..", "/"].contains(name) else {
      throw Failure(
        .cannotCreate,
        "'\(destination)': expected the name of a folder to make; this one cannot be replaced")
    }
    self.destination = FileSystem.withoutTrailingSlashes(destination)
    let parent = FileSystem.parent(of: destination)
    let prefix = ".\(name).partial-"
    path = "\(parent)/\(prefix)\(getpid())"
    try Self.checkIsFree(self.destination)
    try FileSystem.createFolder(parent)
    Self.removeStale(prefix: prefix, in: parent)
    try FileSystem.createNewFolder(path)
  }

  /// Makes every file durable and moves the folder to its place.
  ///
  /// Throws: `Failure` (.inputOutput, .cannotCreate). Where all is durable and only cannot be
  /// moved, it stays beside its place, under a name that the message has.
  package func publish() throws(Failure) {
    for name in try FileSystem.names(in: path) {
      let file = "\(path)/\(name)"
      let descriptor = open(file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
      guard descriptor >= 0 else { throw FileSystem.failure(.inputOutput, "open", file) }
      defer { close(descriptor) }
      guard fsync(descriptor) == 0 else { throw FileSystem.failure(.inputOutput, "sync", file) }
    }
    try FileSystem.syncFolder(path)
    do throws(Failure) {
      try Self.checkIsFree(destination)
      try FileSystem.rename(path, to: destination)
    } catch {
      guard let place = keep() else { throw error }
      throw Failure(error.exitCode, "\(error.message); what was made is whole in \(place)")
    }
  }

  /// Gives what was built a name that nobody removes; nil when it is not there any more, which is
  /// when only making its move durable has failed.
  private func keep() -> String? {
    let place =
      FileSystem.parent(of: destination) + "/\(FileSystem.name(of: destination)).made-\(getpid())"
    return Foundation.rename(path, place) == 0 ? place : nil
  }

  private static let removal = Mutex(())

  /// Removes what was built; nothing happens when it is published or gone.
  ///
  /// - Parameter last: done before whoever else wants to remove it goes on.
  package func remove(then last: () -> Void = {}) {
    Self.removal.withLock { _ in
      // Whoever is still writing by name finds no folder then, and cannot fill it behind us.
      let gone = path + ".gone"
      if Foundation.rename(path, gone) == 0 { try? FileSystem.remove(gone) }
      last()
    }
  }

  private static func checkIsFree(_ path: String) throws(Failure) {
    if let link = FileSystem.deadLink(on: path) {
      throw Failure(.cannotCreate, "\(path): cannot be made (\(link)); name another")
    }
    guard let kind = FileSystem.kind(of: path) else { return }
    guard kind == .folder, try FileSystem.isEmpty(path) else {
      throw Failure(
        .cannotCreate,
        "\(path): expected nothing there or an empty folder, found something else; remove it or"
          + " name another")
    }
    guard !FileSystem.isMountPoint(path) else {
      throw Failure(
        .cannotCreate,
        "\(path): is a mount point, whose place nothing can take; name a folder in it")
    }
  }

  private static func removeStale(prefix: String, in parent: String) {
    for name in (try? FileSystem.names(in: parent)) ?? [] where name.hasPrefix(prefix) {
      let number = name.dropFirst(prefix.count).prefix { $0 != "." }
      guard let process = pid_t(number) else { continue }
      let isGone = kill(process, 0) != 0 && errno == ESRCH
      if isGone || process == getpid() { try? FileSystem.remove("\(parent)/\(name)") }
    }
  }
}
