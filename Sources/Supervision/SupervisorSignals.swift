import Core
import Foundation
import Synchronization

/// Signals to the supervisor, counted until its loop looks.
enum SupervisorSignals {
  private static let stops = Atomic<Int>(0)
  private static let schedulerStops = Atomic<Int>(0)
  private static let saves = Atomic<Int>(0)
  private static let isToPause = Atomic(false)

  static func install() {
    // Under nohup a lost terminal is no reason to stop.
    let keepsOn = unsafeBitCast(signal(SIGHUP, SIG_IGN), to: Int.self) == 1
    for number in [SIGTERM, SIGINT] + (keepsOn ? [] : [SIGHUP]) {
      onSignal(number, restartsCalls: false) { _ in
        SupervisorSignals.stops.wrappingAdd(1, ordering: .relaxed)
      }
    }
    onSignal(SIGUSR1, restartsCalls: false) { _ in
      SupervisorSignals.schedulerStops.wrappingAdd(1, ordering: .relaxed)
    }
    onSignal(SIGUSR2, restartsCalls: false) { _ in
      SupervisorSignals.saves.wrappingAdd(1, ordering: .relaxed)
    }
    onSignal(SIGTSTP, restartsCalls: false) { _ in
      SupervisorSignals.isToPause.store(true, ordering: .relaxed)
    }
    // So that poll is interrupted when mpirun ends.
    onSignal(SIGCHLD, restartsCalls: false) { _ in }
    signal(SIGPIPE, SIG_IGN)
  }

  /// Whether Ctrl-Z was pressed since the last call.
  static func takePause() -> Bool { isToPause.exchange(false, ordering: .relaxed) }

  static func take() -> [SupervisorRequest] {
    Array(
      repeating: .stop(.scheduler), count: schedulerStops.exchange(0, ordering: .relaxed))
      + Array(repeating: .stop(.person), count: stops.exchange(0, ordering: .relaxed))
      + Array(repeating: .save, count: saves.exchange(0, ordering: .relaxed))
  }
}
