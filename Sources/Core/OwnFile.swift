import Foundation
import Synchronization

/// Files of a folder that somebody else may have made or filled: a run directory.
extension OpenFile {
  /// What a file of one's own is opened for.
  package enum Purpose: Sendable {
    case reading
    /// Writing at offsets, too, into a file that is there.
    case updating
    /// Writing at the end; made where it is missing.
    case appending
    /// Having it open, as a lock; made where it is missing.
    case holding

    fileprivate var flags: Int32 {
      switch self {
      case .reading: O_RDONLY
      case .updating, .holding: O_RDWR
      case .appending: O_RDWR | O_APPEND
      }
    }

    fileprivate var creates: Bool { self == .appending || self == .holding }

    /// For a file that cannot be opened.
    fileprivate var exitCode: ExitCode {
      switch self {
      case .reading: .missingInput
      case .updating: .inputOutput
      case .appending, .holding: .cannotCreate
      }
    }
  }

  /// Opens `name`, e.g. `logs/rank-00000.log`, below a folder that a person named. Below that no
  /// link is followed and nobody waits for a pipe; the file is a regular one of this user or of a
  /// group of his, and one that is written has no second name.
  ///
  /// Throws: `Failure` (.badData when something else is there, else the purpose's).
  package init(own name: String, below root: String, for purpose: Purpose) throws(Failure) {
    let names = name.utf8.split(separator: UInt8(ascii: "/")).map { String(Substring($0)) }
    precondition(!names.isEmpty, "a file has a name")
    let folder: OpenFolder
    do throws(Failure) {
      folder = try OpenFolder(root).descended(names.dropLast())
    } catch {
      throw error.exitCode == .missingInput ? Failure(purpose.exitCode, error.message) : error
    }
    try self.init(own: names[names.count - 1], in: folder, for: purpose)
  }

  /// Opens a file of a folder that a person named, as above.
  package init(own path: String, for purpose: Purpose) throws(Failure) {
    try self.init(
      own: FileSystem.name(of: path), below: FileSystem.parent(of: path), for: purpose)
  }

  private init(
    own name: String, in folder: borrowing OpenFolder, for purpose: Purpose
  ) throws(Failure) {
    let path = folder.path + "/" + name
    let flags = purpose.flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC
    var (opened, isNew) = (Int32(-1), false)
    repeat {
      // Looked at before: already the opening of a device may do something.
      if let status = folder.status(of: name) { try Self.requireRegular(status, path) }
      opened = openat(folder.descriptor, name, flags)
      if opened < 0, errno == ENOENT, purpose.creates {
        opened = openat(folder.descriptor, name, flags | O_CREAT | O_EXCL, 0o666)
        isNew = opened >= 0
      }
      // Somebody else has made it just now: then that one is opened.
    } while opened < 0 && errno == EEXIST
    guard opened >= 0 else {
      throw FileSystem.failure(Self.exitCode(errno, else: purpose.exitCode), "open", path)
    }
    do throws(Failure) {
      if !isNew { try Self.requireOwn(opened, path, in: folder, for: purpose) }
    } catch {
      close(opened)
      throw error
    }
    self.init(holding: path, opened)
  }

  private static func requireRegular(_ status: stat, _ path: String) throws(Failure) {
    let kind =
      switch status.st_mode & S_IFMT {
      case S_IFREG: ""
      case S_IFLNK: "a link"
      case S_IFDIR: "a folder"
      default: "a pipe or a device"
      }
    guard kind.isEmpty else {
      throw Failure(
        .badData, "\(path): is \(kind) where a regular file was expected; remove it")
    }
  }

  private static func requireOwn(
    _ descriptor: Int32, _ path: String, in folder: borrowing OpenFolder, for purpose: Purpose
  ) throws(Failure) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileSystem.failure(.inputOutput, "look at", path)
    }
    try requireRegular(status, path)
    guard Ownership.isOwn(status, in: folder) else { throw Ownership.refusal(of: status, path) }
    // What is written here would be written elsewhere, too.
    guard status.st_nlink <= 1 || purpose == .reading else {
      throw Failure(
        .badData,
        "\(path): has a second name elsewhere, which would be written to as well; make a copy of"
          + " the folder and use that")
    }
  }
}

extension OpenFolder {
  /// Refuses a folder of another user and of none of this user's groups: its owner could put
  /// another in its place.
  ///
  /// Throws: `Failure` (.badData; .inputOutput when it cannot be looked at).
  package func requireOwn() throws(Failure) {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileSystem.failure(.inputOutput, "look at", path)
    }
    guard Ownership.isOwn(status, in: self) else { throw Ownership.refusal(of: status, path) }
  }
}

/// Whose files are this process's own.
private enum Ownership {
  /// Users that new files of this process were seen to belong to: on some file systems (root over
  /// NFS, sshfs) all files are one user's.
  private static let aliases = Mutex<Set<uid_t>>([])

  static func isOwn(_ status: stat, in folder: borrowing OpenFolder) -> Bool {
    if status.st_uid == geteuid() || groups.contains(status.st_gid) { return true }
    if let user = userOfNewFiles(in: folder) { aliases.withLock { _ = $0.insert(user) } }
    return aliases.withLock { $0.contains(status.st_uid) }
  }

  static func refusal(of status: stat, _ path: String) -> Failure {
    Failure(
      .badData,
      "\(path): belongs to another user (\(status.st_uid)) and group (\(status.st_gid)); make a"
        + " copy of the folder and use that")
  }

  private static let groups: Set<gid_t> = {
    var groups = [gid_t](repeating: 0, count: Int(max(0, getgroups(0, nil))))
    let count = getgroups(Int32(groups.count), &groups)
    return Set(groups.prefix(Int(max(0, count)))).union([getegid()])
  }()

  private static func userOfNewFiles(in folder: borrowing OpenFolder) -> uid_t? {
    let name = ".owner-\(getpid())"
    folder.removeFile(name)
    let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
    let probe = openat(folder.descriptor, name, flags, 0o600)
    guard probe >= 0 else { return nil }
    defer {
      close(probe)
      folder.removeFile(name)
    }
    var status = stat()
    return fstat(probe, &status) == 0 ? status.st_uid : nil
  }
}
