import Core
import Foundation
import Synchronization

/// The two threads of a supervised rank that live beside training and share no lock with it: one
/// tells that the rank lives and where it stands, the other looks whether the supervisor lives.
package enum Pulse {
  /// A rank that has no living supervisor and gets nowhere ends itself after so long.
  package static let deadManSeconds = 20.0

  /// Beats further apart than this were held up from outside.
  private static let longestBeatMilliseconds = 5_000
  private static let processStart = Stopwatch()
  /// Milliseconds since `processStart` when the lease was last seen to change.
  private static let leaseSeen = Atomic<Int>(0)
  private static let isSuperseded = Atomic<Bool>(false)

  /// Starts both in a process a supervisor started; does nothing in another.
  package static func start() {
    guard let launch = SupervisedLaunch.current, let rank = Self.rank else { return }
    _ = processStart.seconds
    Thread.detachNewThread { watchLease(launch) }
    Thread.detachNewThread { beat(launch, rank: rank) }
  }

  /// The rank's number before MPI has started.
  private static var rank: Int? {
    let environment = ProcessInfo.processInfo.environment
    return (environment["OMPI_COMM_WORLD_RANK"] ?? environment["PMIX_RANK"]).flatMap(Int.init)
  }

  /// Never returns. Must never wait for anything but time: it carries the dead-man timer.
  private static func beat(_ launch: SupervisedLaunch, rank: Int) {
    var sequence = 0
    var lastWork = -1
    var lastProgress = 0
    var lastBeat = milliseconds
    while true {
      let reading = StepBeacon.reading
      let now = milliseconds
      // The machine slept, or this process was stopped: nobody could be heard meanwhile, so the
      // silence begins anew.
      if now - lastBeat > longestBeatMilliseconds {
        lastProgress = now
        leaseSeen.store(now, ordering: .relaxed)
      }
      lastBeat = now
      if reading.work != lastWork {
        lastWork = reading.work
        lastProgress = now
      }
      let heartbeat = Heartbeat(
        incarnation: launch.incarnation, rank: rank, sequence: sequence, reading: reading)
      sequence += 1
      writeUnlessFull(heartbeat.line(job: launch.job))
      let silent = Double(now - max(lastProgress, leaseSeen.load(ordering: .relaxed))) / 1000
      if silent > deadManSeconds || isSuperseded.load(ordering: .relaxed) {
        endOrphaned(launch)
      }
      waitForNextBeat(after: reading)
    }
  }

  /// The usual interval, or until the first step of this launch is done: it is what a supervisor
  /// waits for after a death.
  private static func waitForNextBeat(after told: StepBeacon.Reading) {
    let isBeforeFirstStep = told.step <= max(0, told.resumedStep)
    let slices = isBeforeFirstStep ? 25 : 1
    for _ in 0..<slices {
      usleep(UInt32(Heartbeat.intervalSeconds * 1e6) / UInt32(slices))
      let reading = StepBeacon.reading
      if isBeforeFirstStep, reading.step > max(0, reading.resumedStep) { return }
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
    return program == "orted" && words.contains(job)
  }

  /// Tells at once where the rank stands: it is about to leave, and with which code. Success means
  /// that the run's last step is done and saved.
  package static func end(_ code: ExitCode) {
    guard let launch = SupervisedLaunch.current, let rank = Self.rank else { return }
    StepBeacon.leave(code)
    let last = Heartbeat(
      incarnation: launch.incarnation, rank: rank, sequence: 1 << 40, reading: StepBeacon.reading)
    writeUnlessFull(last.line(job: launch.job))
  }

  /// Never returns. May wait for a file system that does not answer, so it does nothing else.
  private static func watchLease(_ launch: SupervisedLaunch) {
    var lastBeat = -1
    while true {
      if let lease = Lease(at: launch.leasePath) {
        // Somebody else has the run now, or has started it again: nothing of this rank counts.
        if lease.job != launch.job || lease.incarnation > launch.incarnation {
          isSuperseded.store(true, ordering: .relaxed)
        } else if lease.beat != lastBeat {
          lastBeat = lease.beat
          leaseSeen.store(milliseconds, ordering: .relaxed)
        }
      }
      usleep(UInt32(Lease.intervalSeconds * 1e6))
    }
  }

  /// A pipe that nobody empties must not stop the thread; one with room takes a short line whole.
  private static func writeUnlessFull(_ bytes: [UInt8]) {
    var descriptor = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
    guard poll(&descriptor, 1, 0) == 1, descriptor.revents & Int16(POLLOUT) != 0 else { return }
    _ = bytes.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  private static var milliseconds: Int { Int(processStart.seconds * 1000) }
}
