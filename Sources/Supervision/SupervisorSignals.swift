import Foundation
import Synchronization

/// Signals to the supervisor, counted until its loop looks.
enum SupervisorSignals {
  private static let stops = Atomic<Int>(0)
  private static let saves = Atomic<Int>(0)

  static func install() {
    // Under nohup a lost terminal is no reason to stop.
    let keepsOn = unsafeBitCast(signal(SIGHUP, SIG_IGN), to: Int.self) == 1
    for number in [SIGTERM, SIGINT, SIGUSR1] + (keepsOn ? [] : [SIGHUP]) {
      on(number) { _ in SupervisorSignals.stops.wrappingAdd(1, ordering: .relaxed) }
    }
    on(SIGUSR2) { _ in SupervisorSignals.saves.wrappingAdd(1, ordering: .relaxed) }
    // So that poll is interrupted when mpirun ends.
    on(SIGCHLD) { _ in }
    signal(SIGPIPE, SIG_IGN)
  }

  static func take() -> [SupervisorRequest] {
    Array(repeating: .stop, count: stops.exchange(0, ordering: .relaxed))
      + Array(repeating: .save, count: saves.exchange(0, ordering: .relaxed))
  }

  private static func on(_ number: Int32, _ handler: @escaping @convention(c) (Int32) -> Void) {
    var own = sigset_t()
    sigemptyset(&own)
    sigaddset(&own, number)
    pthread_sigmask(SIG_UNBLOCK, &own, nil)
    var action = sigaction()
    action.__sigaction_handler.sa_handler = handler
    sigaction(number, &action, nil)
  }
}
