import Core
import Foundation
import Synchronization
import Training

/// The right to supervise a run, held until the value goes away: a lock that the kernel drops when
/// the process ends, and a lease file that says who holds it and that it lives.
///
/// The lock decides where it reaches all hosts. The file is for those it does not reach: ranks on
/// other hosts, which end themselves when it falls silent or changes hands, and supervisors on file
/// systems without locks between hosts.
package final class SupervisorLease: Sendable {
  /// A lease of another host that has been silent for so long may be taken over.
  package static let staleSeconds = 60.0

  package let job: String
  /// Of a supervisor that died: its processes have to be ended before anything is started.
  package let abandonedJob: String?
  private let paths: RunPaths
  private let lock: OpenFile
  private let lease: Mutex<Lease>
  private let fenced = Atomic<Bool>(false)
  private let isReleased = Atomic<Bool>(false)

  /// Waits for a supervisor of another host to fall silent where no lock says that it is gone.
  ///
  /// - Parameters:
  ///   - isLockWhole: whether locks reach other hosts; nil to ask the file system.
  /// Throws: `Failure` (.inputOutput when somebody else supervises the run, naming host, process
  /// and age; .cannotCreate when the directory cannot be written).
  package init(
    root: String, isLockWhole: Bool? = nil, staleSeconds: Double = SupervisorLease.staleSeconds
  ) throws(Failure) {
    paths = RunPaths(root: root)
    try RunDirectory.create(paths)
    lock = try paths.open(paths.supervisorLock, for: .holding)
    job = Self.newJob()
    let own = Lease(
      job: job, host: HostName.current, boot: Self.boot, process: getpid(),
      processStart: Self.start(of: getpid()) ?? "",
      started: Date.now.formatted(.iso8601), incarnation: 0, beat: 0)
    lease = Mutex(own)
    let hasLock = try Self.takeLock(paths, lock, root: root)
    let isSure = hasLock && isLockWhole ?? LockReach.isWhole(of: paths.supervisorLock)
    abandonedJob = try Self.requireFree(paths, root: root, isSure ? nil : staleSeconds)
    try FileSystem.writeAtomically(own.bytes, to: paths.lease)
  }

  /// True once somebody else's lease stands in the place of this one.
  package var isFenced: Bool { fenced.load(ordering: .relaxed) }

  /// Makes the lease carry the newest launch, so that ranks of earlier ones end themselves.
  package func set(incarnation: Int) {
    lease.withLock { $0.incarnation = incarnation }
    beat()
  }

  /// Keeps the lease alive from a thread of its own, as a file system may take its time.
  ///
  /// Throws: `Failure(.internal)` when no thread can be started.
  package func keepAlive() throws(Failure) {
    try ServiceThread.start("lease") { [weak self] in
      while let self, !self.isReleased.load(ordering: .relaxed), !self.isFenced {
        self.beat()
        usleep(UInt32(Lease.intervalSeconds * 1e6))
      }
    }
  }

  /// Removes the lease; the lock goes with the value.
  package func release() {
    isReleased.store(true, ordering: .relaxed)
    lease.withLock { _ in
      if !isFenced, Lease(at: paths.lease)?.job == job { unlink(paths.lease) }
    }
  }

  private func beat() {
    lease.withLock { lease in
      guard !isReleased.load(ordering: .relaxed) else { return }
      // A disk that does not answer is no reason to end a run that computes.
      guard let file = try? paths.open(paths.lease, for: .updating) else { return }
      if let found = Lease(at: paths.lease), found.job != job {
        return fenced.store(true, ordering: .relaxed)
      }
      lease.beat += 1
      _ = lease.bytes.withUnsafeBytes { pwrite(file.descriptor, $0.baseAddress, $0.count, 0) }
    }
  }
}

// MARK: - Who holds it

extension SupervisorLease {
  /// False where the file system has no locks.
  private static func takeLock(
    _ paths: RunPaths, _ lock: borrowing OpenFile, root: String
  ) throws(Failure) -> Bool {
    while flock(lock.descriptor, LOCK_EX | LOCK_NB) != 0 {
      switch errno {
      case EINTR: continue
      case EWOULDBLOCK: throw held(paths, root: root)
      case ENOLCK, EOPNOTSUPP, ENOSYS: return false
      default: throw FileSystem.failure(.inputOutput, "lock", paths.supervisorLock)
      }
    }
    return true
  }

  /// The job of a supervisor that died, if any.
  ///
  /// - Parameter limit: how long the lease of another host must have been silent; nil where a lock
  ///   has shown that nobody holds it.
  private static func requireFree(
    _ paths: RunPaths, root: String, _ limit: Double?
  ) throws(Failure) -> String? {
    guard let lease = Lease(at: paths.lease) else { return nil }
    if lease.host == HostName.current {
      let isAlive =
        lease.boot == boot && lease.process != getpid()
        && start(of: lease.process) == lease.processStart
      if isAlive { throw held(paths, root: root) }
    } else if let limit {
      try waitUntilStale(lease, paths, root: root, limit)
    }
    return lease.job
  }

  /// Returns once the lease has been silent for long enough.
  private static func waitUntilStale(
    _ lease: Lease, _ paths: RunPaths, root: String, _ limit: Double
  ) throws(Failure) {
    guard let age = age(of: paths), age < limit else { return }
    StandardError.say(
      "\(root): host \(lease.host) supervised it \(Int(age)) s ago, and locks do not reach it:"
        + " waiting up to \(Int((limit - age).rounded(.up))) s for a sign of life")
    while let age = Self.age(of: paths), age < limit {
      usleep(UInt32(min(Lease.intervalSeconds, limit / 4) * 1e6))
      if let now = Lease(at: paths.lease), now != lease { throw held(paths, root: root) }
    }
  }

  private static func held(_ paths: RunPaths, root: String) -> Failure {
    guard let lease = Lease(at: paths.lease) else {
      return Failure(.inputOutput, "\(root): another supervisor holds it, its lease cannot be read")
    }
    let age = age(of: paths).map { "\(Int($0.rounded())) s ago" } ?? "unknown"
    return Failure(
      .inputOutput,
      "\(root): pid \(lease.process) on host \(lease.host) supervises it since \(lease.started),"
        + " last sign of life \(age); stop that one or use another --run")
  }

  /// Seconds since the last beat by the file system's own clock, as hosts' clocks differ.
  private static func age(of paths: RunPaths) -> Double? {
    let probe = paths.lease + ".now-\(getpid())"
    // A process of this number may have left it.
    unlink(probe)
    guard let file = try? OpenFile(creating: probe) else { return nil }
    defer { unlink(probe) }
    var (now, then) = (stat(), stat())
    guard file.append([UInt8(ascii: "x")]) == 1, fstat(file.descriptor, &now) == 0,
      lstat(paths.lease, &then) == 0
    else { return nil }
    // A file may claim any time there is.
    let seconds =
      Double(now.st_mtim.tv_sec) - Double(then.st_mtim.tv_sec)
      + Double(now.st_mtim.tv_nsec - then.st_mtim.tv_nsec) * 1e-9
    return min(max(0, seconds), 1e9)
  }

  private static func newJob() -> String {
    (0..<4).map { _ in
      let digits = String(UInt32.random(in: 0...UInt32.max), radix: 16)
      return String(repeating: "0", count: 8 - digits.count) + digits
    }.joined()
  }

  private static var boot: String {
    let text = try? String(contentsOfFile: "/proc/sys/kernel/random/boot_id", encoding: .utf8)
    return text?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
  }

  /// When a process started, in the kernel's ticks; nil when there is none of that number.
  private static func start(of process: pid_t) -> String? {
    guard let text = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
      let name = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: name)...].split(separator: " ")
    guard fields.count > 19, fields[0] != "Z" else { return nil }
    return String(fields[19])
  }
}
