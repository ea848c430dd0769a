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

  /// Installs the handlers. A second TERM or INT ends the process at once.
  package static func install() {
    on(SIGUSR1) { _ in StopSignals.pending.bitwiseOr(Requests.stop.rawValue, ordering: .relaxed) }
    on(SIGUSR2) { _ in StopSignals.pending.bitwiseOr(Requests.save.rawValue, ordering: .relaxed) }
    for number in [SIGTERM, SIGINT] {
      on(number) { number in
        let before = StopSignals.pending.bitwiseOr(Requests.stop.rawValue, ordering: .relaxed)
        if before.oldValue & Requests.stop.rawValue != 0 { _exit(128 + number) }
      }
    }
  }

  /// Takes what was requested since the last call.
  package static func take() -> Requests {
    Requests(rawValue: pending.exchange(0, ordering: .relaxed))
  }

  private static func on(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
    // Launchers that start us from a thread with blocked signals pass that on.
    var own = sigset_t()
    sigemptyset(&own)
    sigaddset(&own, number)
    pthread_sigmask(SIG_UNBLOCK, &own, nil)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = handler
    action.sa_flags = SA_RESTART
    sigaction(number, &action, nil)
  }
}
