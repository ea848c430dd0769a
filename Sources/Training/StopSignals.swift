import Core
import Foundation
import Synchronization

/// What somebody outside asked of the run; bits are combined over all ranks, so that one rank that
/// hears a signal is enough.
package struct Requests: OptionSet, Sendable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Save at the next step boundary and end (USR1, TERM, INT).
  package static let stop = Requests(rawValue: 1)
  /// Save at the next step boundary and go on (USR2).
  package static let save = Requests(rawValue: 2)
}

/// Turns signals into requests that the step loop reads between steps.
package enum StopSignals {
  private static let pending = Atomic<UInt64>(0)
  /// Whether TERM, INT or HUP has come; never taken back.
  private static let isEnding = Atomic(false)
  /// Whether this process tells a person that a signal was heard.
  private static let answers = Atomic(false)
  private static let answer: StaticString = "saving after this step; again ends at once\n"

  /// Whether a second TERM ends the process.
  private static let isTermHeeded = Atomic(true)
  /// When the first came, on the monotonic clock.
  private static let firstAt = Atomic<Int>(0)
  /// What comes so soon after the first is the same request: `timeout` sends a signal to the
  /// process and to its group.
  private static let sameRequestNanoseconds = 1_000_000_000

  /// Installs the handlers. A second TERM, INT or HUP, a second or more later, ends the process at
  /// once.
  ///
  /// - Parameters:
  ///   - answers: whether the first is answered on stderr: no launcher does.
  ///   - heedsSecondTERM: false where a KILL comes by itself: Slurm says TERM twice to a job that
  ///     is preempted, and means once.
  package static func install(answers: Bool, heedsSecondTERM: Bool) {
    self.answers.store(answers, ordering: .relaxed)
    isTermHeeded.store(heedsSecondTERM, ordering: .relaxed)
    // Under nohup a lost terminal is no reason to stop.
    let keepsOn = unsafeBitCast(signal(SIGHUP, SIG_IGN), to: Int.self) == 1
    onSignal(SIGUSR1, restartsCalls: true) { _ in
      StopSignals.pending.bitwiseOr(Requests.stop.rawValue, ordering: .relaxed)
    }
    onSignal(SIGUSR2, restartsCalls: true) { _ in
      StopSignals.pending.bitwiseOr(Requests.save.rawValue, ordering: .relaxed)
    }
    for number in [SIGTERM, SIGINT] + (keepsOn ? [] : [SIGHUP]) {
      onSignal(number, restartsCalls: true) { number in
        if StopSignals.isEnding.exchange(true, ordering: .relaxed) {
          return StopSignals.again(number)
        }
        StopSignals.firstAt.store(StopSignals.nanoseconds, ordering: .relaxed)
        StopSignals.pending.bitwiseOr(Requests.stop.rawValue, ordering: .relaxed)
        guard StopSignals.answers.load(ordering: .relaxed) else { return }
        // Whoever was interrupted may be about to look at it.
        let interrupted = errno
        let text = StopSignals.answer
        _ = write(STDERR_FILENO, text.utf8Start, text.utf8CodeUnitCount)
        errno = interrupted
      }
    }
  }

  private static func again(_ number: Int32) {
    let isHeeded = number != SIGTERM || isTermHeeded.load(ordering: .relaxed)
    let since = nanoseconds - firstAt.load(ordering: .relaxed)
    if isHeeded, since >= sameRequestNanoseconds { _exit(128 + number) }
  }

  private static var nanoseconds: Int {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return now.tv_sec * 1_000_000_000 + now.tv_nsec
  }

  /// Takes what was requested since the last call.
  package static func take() -> Requests {
    Requests(rawValue: pending.exchange(0, ordering: .relaxed))
  }
}
