import Core
import Foundation

/// The two threads of a supervised rank that live beside training and share no lock with it: one
/// tells that the rank lives and where it stands, the other looks whether the supervisor lives. The
/// ranks of a host do both for each other.
package enum Pulse {
  /// A rank that has no living supervisor and gets nowhere ends itself after so long.
  package static let deadManSeconds = 20.0

  /// Beats further apart than this were held up from outside.
  private static let longestBeatMilliseconds = 5_000
  /// Between two of a rank, which whoever speaks next finds on the host's board.
  private static let beatMicroseconds: UInt32 = 100_000
  /// … until the first step of this launch, which a supervisor waits for after a death.
  private static let hurriedMicroseconds: UInt32 = 20_000
  /// A rank that leaves waits so long for room to say so.
  private static let lastWordMilliseconds: Int32 = 1_000

  /// Starts both in a process a supervisor started; does nothing in another.
  ///
  /// Throws: `Failure(.internal)` when no thread can be started.
  package static func start() throws(Failure) {
    guard let launch = SupervisedLaunch.current, let rank = Self.rank else { return }
    // By this thread: where all ranks are, all have their boards.
    let board = HostBoard(launch, rank: rank)
    try ServiceThread.start("lease") { watchLease(launch, board) }
    try ServiceThread.start("heartbeat") { beat(launch, board) }
  }

  /// Tells that all ranks of the job have come as far as here, each after its `start`.
  package static func everyRankHasStarted() {
    guard let launch = SupervisedLaunch.current else { return }
    HostBoard.removeName(launch)
  }

  /// The rank's number before MPI has started.
  private static var rank: Int? {
    let environment = ProcessInfo.processInfo.environment
    return (environment["OMPI_COMM_WORLD_RANK"] ?? environment["PMIX_RANK"]).flatMap(Int.init)
      .flatMap { 0..<1 << 32 ~= $0 ? $0 : nil }
  }

  /// Never returns. Must never wait for anything but time: it carries the dead-man timer.
  private static func beat(_ launch: SupervisedLaunch, _ board: HostBoard) {
    var lastWork = -1
    var lastProgress = milliseconds
    var lastBeat = lastProgress
    while true {
      let reading = StepBeacon.reading
      let now = milliseconds
      // This process was stopped: nobody could be heard meanwhile, so the silence begins anew.
      if now - lastBeat > longestBeatMilliseconds { lastProgress = now }
      lastBeat = now
      if reading.work != lastWork {
        lastWork = reading.work
        lastProgress = now
      }
      let hasStepped = reading.step > max(0, reading.resumedStep)
      board.tell(reading, at: now)
      speak(launch, board, at: now, hasStepped)
      let silent = Double(now - max(lastProgress, board.newsAt)) / 1000
      if silent > deadManSeconds || board.isSuperseded { endOrphaned(launch) }
      usleep(hasStepped ? beatMicroseconds : hurriedMicroseconds)
    }
  }

  /// Speaks for all ranks of this host, if it is time and can be done without waiting.
  private static func speak(
    _ launch: SupervisedLaunch, _ board: HostBoard, at now: Int, _ hasStepped: Bool
  ) {
    guard hasRoomToSpeak(withinMilliseconds: 0),
      let sequence = board.takeTurnToSpeak(at: now, hasStepped: hasStepped)
    else { return }
    for frame in board.frames(sequence, of: launch, at: now) {
      guard hasRoomToSpeak(withinMilliseconds: 0) else { return }
      say(frame.line(job: launch.job))
    }
  }

  /// Ends this process and mpirun's daemon on this host, which may not see that it is cut off: with
  /// words under way, TCP asks for no sign of life and tries for a quarter of an hour.
  private static func endOrphaned(_ launch: SupervisedLaunch) -> Never {
    let parent = getppid()
    if isDaemon(parent, of: launch.job) { kill(parent, SIGKILL) }
    _exit(ExitCode.orphaned.rawValue)
  }

  private static func isDaemon(_ process: pid_t, of job: String) -> Bool {
    let descriptor = open("/proc/\(process)/cmdline", O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    let count = max(0, read(descriptor, &bytes, bytes.count))
    let words = bytes[..<count].split(separator: 0)
      .map { String(decoding: $0, as: UTF8.self) }
    let program = words.first?.split(separator: "/").last
    // OpenMPI 4's and 5's.
    return ["orted", "prted"].contains(program) && words.contains(job)
  }

  /// Tells at once where the rank stands: it is about to leave, and with which code. Success means
  /// that the run's last step is done and saved.
  package static func end(_ code: ExitCode) {
    guard let launch = SupervisedLaunch.current, let rank = Self.rank else { return }
    StepBeacon.leave(code)
    let last = HeartbeatFrame(
      incarnation: launch.incarnation, ranks: [rank...rank], sequence: 1 << 40,
      reading: StepBeacon.reading)
    guard hasRoomToSpeak(withinMilliseconds: lastWordMilliseconds) else { return }
    say(last.line(job: launch.job))
  }

  /// Never returns. May wait for a file system that does not answer, so it does nothing else.
  private static func watchLease(_ launch: SupervisedLaunch, _ board: HostBoard) {
    while true {
      if board.takeTurnToLook(at: milliseconds), let lease = Lease(at: launch.leasePath) {
        board.note(lease, of: launch, at: milliseconds)
      }
      usleep(UInt32(Lease.intervalSeconds * 1e6))
    }
  }

  /// A pipe that nobody empties must not stop a thread; one with room takes a short line whole.
  private static func hasRoomToSpeak(withinMilliseconds limit: Int32) -> Bool {
    var descriptor = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    var count: Int32 = 0
    repeat { count = poll(&descriptor, 1, limit) } while count < 0 && errno == EINTR
    // One whose other end is gone takes words as well: another rank is to speak.
    return count == 1 && descriptor.revents == Int16(POLLOUT)
  }

  private static func say(_ bytes: [UInt8]) {
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  /// Of the clock that all processes of a host share, and that stands still while the host sleeps.
  private static var milliseconds: Int {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1000 + now.tv_nsec / 1_000_000
  }
}
