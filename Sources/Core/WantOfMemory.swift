import Foundation

/// Ends the process, as a system without memory leaves nothing else to do: with a sentence and the
/// exit code of what cannot be created, not with a trap.
///
/// - Parameter byteCount: what was asked for in vain.
package func endForWantOfMemory(byteCount: Int) -> Never {
  StandardError.say(
    "the system does not give \(byteCount) bytes of memory (\(String(cString: strerror(ENOMEM)))):"
      + " a limit (ulimit -v) or the machine is too small for this run")
  // Not `exit`: what it would flush and free may need memory.
  _exit(ExitCode.cannotCreate.rawValue)
}
