import Checkpoints
import Core
import Foundation

/// Where things are in a run directory; every rank knows this, one process owns the directory.
package struct RunPaths: Equatable, Sendable {
  package let root: String

  package init(root: String) { self.root = root }

  package var configuration: String { root + "/config.yaml" }
  package var events: String { root + "/events.jsonl" }
  package var incarnation: String { root + "/incarnation" }
  package var lock: String { root + "/lock" }
  package var supervisorLock: String { root + "/supervisor.lock" }
  package var lease: String { root + "/supervisor.lease" }
  package var logs: String { root + "/logs" }
  package var checkpoints: String { root + "/checkpoints" }
  /// How often the job was queued again.
  package var requeues: String { root + "/requeues" }
  /// What is known of the shards of a dataset that was trained on.
  package func index(of dataset: Digest) -> String { "\(root)/dataset-\(dataset).index" }
  /// What mpirun said.
  package var launcherLog: String { logs + "/mpirun.log" }

  /// The log of one rank.
  package func log(rank: Int) -> String { "\(logs)/rank-\(zeroPadded(rank, width: 5)).log" }

  /// Opens a file of the directory, one of the above, relative to the directory itself.
  ///
  /// Throws: as `OpenFile.init(own:below:for:)`.
  package func open(
    _ path: String, for purpose: OpenFile.Purpose
  ) throws(Failure) -> OpenFile {
    precondition(path.utf8.starts(with: (root + "/").utf8), "the file is the run's")
    let name = path.utf8.dropFirst(root.utf8.count + 1)
    return try OpenFile(own: String(Substring(name)), below: root, for: purpose)
  }

  /// The folder of the checkpoint after a step.
  package func checkpoint(step: Int) -> String {
    "\(checkpoints)/step-\(zeroPadded(step, width: 9))"
  }
}

/// A run directory that this process owns until the value goes away: no other process trains in it.
///
/// Collective: rank 0 opens it; the other ranks use `RunPaths` after rank 0 has.
package final class RunDirectory: Sendable {
  package let paths: RunPaths
  /// Counts the launches of the run from 1; a higher one was started later.
  package let incarnation: Int
  package let events: EventLog
  private let lock: RunLock
  private let checkpoints: OpenFolder

  /// Creates or opens the directory, locks it and takes the next incarnation number, or checks that
  /// the one its supervisor took is still the last.
  ///
  /// Throws: `Failure` (.cannotCreate when it cannot be made or written; .inputOutput when another
  /// process holds it or a later launch was started; .badData when the incarnation file is
  /// damaged).
  package init(
    root: String, assigned: Int? = SupervisedLaunch.current?.incarnation
  ) throws(Failure) {
    paths = RunPaths(root: root)
    try Self.create(paths)
    checkpoints = try Self.folderOfRun(FileSystem.name(of: paths.checkpoints), of: paths)
    lock = try RunLock(paths)
    if let assigned {
      let last = try Self.lastIncarnation(of: paths)
      guard last == assigned else {
        throw Failure(
          .inputOutput, "\(root): this is launch \(assigned), but launch \(last) was started since")
      }
      incarnation = assigned
    } else {
      incarnation = try Self.takeIncarnation(paths)
    }
    events = try EventLog(paths, incarnation: incarnation)
  }

  /// Makes sure that the directory and its checkpoints' folder still stand under their names:
  /// whoever saves by name would else save where nobody looks, or remove another run's checkpoints.
  ///
  /// Throws: `Failure` (.inputOutput) when it was moved, removed or replaced.
  package func requireInPlace() throws(Failure) {
    guard lock.stands(at: paths.lock), checkpoints.stands(at: paths.checkpoints) else {
      throw Failure(
        .inputOutput,
        "\(paths.root): is not the directory this run was started in; put that back in its place")
    }
  }

  private static func folderOfRun(
    _ name: String, of paths: RunPaths
  ) throws(Failure) -> OpenFolder {
    do throws(Failure) {
      return try OpenFolder(name, in: try OpenFolder(paths.root))
    } catch {
      throw error.exitCode == .missingInput ? Failure(.cannotCreate, error.message) : error
    }
  }

  /// Makes the folders of a run directory that are missing.
  ///
  /// Throws: `Failure` (.cannotCreate; .badData for a link in the place of one, or one that belongs
  /// to somebody else).
  package static func create(_ paths: RunPaths) throws(Failure) {
    try FileSystem.createFolder(paths.root)
    for folder in [paths.logs, paths.checkpoints] {
      guard FileSystem.kind(of: folder) != .link else {
        throw Failure(
          .badData,
          "\(folder): is a link where a folder was expected; only the run directory itself may be"
            + " reached through one")
      }
      try FileSystem.createFolder(folder)
      try folderOfRun(FileSystem.name(of: folder), of: paths).requireOwn()
    }
    guard access(paths.root, W_OK | X_OK) == 0 else {
      throw FileSystem.failure(.cannotCreate, "write to the run directory", paths.root)
    }
  }

  /// No checkpoint of a later launch is read.
  private static let highestIncarnation = 1_000_000_000

  /// Takes the next incarnation number, durably.
  ///
  /// Precondition: the caller holds the run's or its supervisor's lock.
  package static func takeIncarnation(_ paths: RunPaths) throws(Failure) -> Int {
    let last = try lastIncarnation(of: paths)
    guard last < highestIncarnation else {
      throw Failure(
        .badData,
        "\(paths.incarnation): says that launch \(last) was the last, and a run counts no further;"
          + " use another --run")
    }
    let incarnation = last + 1
    try FileSystem.writeAtomically(Array("\(incarnation)\n".utf8), to: paths.incarnation)
    return incarnation
  }

  /// The step of the newest checkpoint, whether it verifies or not; nil where there is none.
  package static func newestStep(of paths: RunPaths) -> Int? {
    (try? CheckpointStore(folder: paths.checkpoints).steps)?.max()
  }

  /// Writes `config.yaml`, whole or not at all.
  package func save(_ configuration: RunConfiguration) throws(Failure) {
    try FileSystem.writeAtomically(Array(configuration.resolvedYAML.utf8), to: paths.configuration)
  }

  /// The number of the launch that opened the directory last; 0 in a new one.
  ///
  /// Where checkpoints were put back without the number, it is the highest they were saved by: a
  /// lower one could save nothing beside them.
  /// Throws: `Failure` (.inputOutput, .badData when the number is damaged, or lower than that of a
  /// checkpoint).
  package static func lastIncarnation(of paths: RunPaths) throws(Failure) -> Int {
    let store = CheckpointStore(folder: paths.checkpoints)
    let path = paths.incarnation
    // A number that cannot be read is not a missing one: launches would share it.
    if FileSystem.isAbsent(path) { return try store.highestIncarnation() }
    let text: String
    do throws(Failure) {
      let file = try paths.open(path, for: .reading)
      let bytes = try file.read(byteCount: min(4096, try file.byteCount()), at: 0)
      text = String(decoding: bytes, as: UTF8.self)
    } catch {
      throw error.exitCode == .badData ? error : Failure(.inputOutput, error.message)
    }
    guard let number = Int(text.trimmingCharacters(in: .whitespacesAndNewlines)),
      1...highestIncarnation ~= number
    else {
      throw Failure(
        .badData,
        "\(path): expected the number of the last launch, found '\(text.prefix(20))';"
          + " write the highest incarnation of events.jsonl into it")
    }
    // Found at the start and not by the first save, which could not be published.
    if let newest = try store.newestLaunch(), newest.incarnation > number {
      throw Failure(
        .badData,
        "\(path): says that launch \(number) was the last, but \(newest.path) was saved by launch"
          + " \(newest.incarnation); write \(newest.incarnation) into it")
    }
    return number
  }
}

extension RunDirectory {
  /// Refuses a run in which a process trains now.
  ///
  /// Throws: `Failure` (.cannotCreate, .inputOutput).
  package static func requireNobodyTrains(in paths: RunPaths) throws(Failure) {
    _ = try RunLock(paths)
  }
}

/// An advisory lock on a run directory; the kernel drops it when the process ends, however it ends.
private final class RunLock: Sendable {
  private let file: OpenFile

  /// So long a killed holder may take: the kernel frees its memory before it lets go of its files.
  private static let dyingSeconds = 5.0

  init(_ paths: RunPaths) throws(Failure) {
    file = try paths.open(paths.lock, for: .holding)
    let watch = Stopwatch()
    while flock(file.descriptor, LOCK_EX | LOCK_NB) != 0 {
      switch errno {
      case EINTR: continue
      case EWOULDBLOCK:
        let holder = Self.text(of: file)
        guard watch.seconds < Self.dyingSeconds, Self.isDying(holder) else {
          throw Failure(
            .inputOutput,
            "\(paths.root): another process trains here (\(Self.description(of: holder)))")
        }
        usleep(10_000)
      default:
        throw FileSystem.failure(.inputOutput, "lock", file.path)
      }
    }
    let holder = Array("\(getpid()) \(HostName.current)\n".utf8)
    let isWritten =
      ftruncate(file.descriptor, 0) == 0
      && holder.withUnsafeBytes { pwrite(file.descriptor, $0.baseAddress, $0.count, 0) }
        == holder.count
    guard isWritten else { throw FileSystem.failure(.inputOutput, "write", file.path) }
  }

  /// Whether the file under a name is the locked one.
  func stands(at path: String) -> Bool {
    var (own, found) = (stat(), stat())
    return fstat(file.descriptor, &own) == 0 && lstat(path, &found) == 0
      && own.st_dev == found.st_dev && own.st_ino == found.st_ino
  }

  /// What the holder has written; nothing where he is just about to.
  private static func text(of file: borrowing OpenFile) -> String {
    guard let byteCount = try? file.byteCount(),
      let bytes = try? file.read(byteCount: min(byteCount, 1024), at: 0)
    else { return "" }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Whether `123 node7` is a process of this host that has no command line any more.
  private static func isDying(_ holder: String) -> Bool {
    let words = holder.split(whereSeparator: \.isWhitespace)
    guard words.count == 2, words[1] == HostName.current, let process = pid_t(words[0]) else {
      return false
    }
    let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline")
    return line?.isEmpty ?? true
  }

  /// `123 node7` as words for a person.
  private static func description(of holder: String) -> String {
    let words = holder.split(whereSeparator: \.isWhitespace)
    guard words.count == 2 else { return "its lock does not say which" }
    return "pid \(words[0]) on host \(words[1])"
  }
}
