import Foundation

/// Installs a handler of a signal and lets the signal through.
///
/// Launchers that start a program from a thread with blocked signals pass that on.
/// - Parameter restartsCalls: whether a system call that is interrupted goes on (`SA_RESTART`)
///   instead of failing with `EINTR`.
package func onSignal(
  _ number: Int32, restartsCalls: Bool, _ handler: @escaping @convention(c) (Int32) -> Void
) {
  var own = sigset_t()
  sigemptyset(&own)
  sigaddset(&own, number)
  pthread_sigmask(SIG_UNBLOCK, &own, nil)
  var action = sigaction()
  action.__sigaction_handler.sa_handler = handler
  action.sa_flags = restartsCalls ? SA_RESTART : 0
  sigaction(number, &action, nil)
}
