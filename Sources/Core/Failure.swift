/// What the process tells its parent when it ends; the numbers follow sysexits.h where it has one.
package enum ExitCode: Int32, Sendable, CaseIterable {
  case success = 0
  /// A comparison found a difference.
  case different = 1
  case usage = 64
  /// Data is there but is not what it should be: corrupt, truncated, of another model.
  case badData = 65
  case missingInput = 66
  /// A program or host the run needs does not answer.
  case unavailable = 69
  /// A program error, or a library that failed for a reason of its own.
  case `internal` = 70
  case cannotCreate = 73
  case inputOutput = 74
  /// Stopped on request after saving: run the same command again to continue.
  case stoppedResumable = 75
  /// Copies of the weights differ between ranks, or ranks call different operations.
  case outOfLockstep = 76
  case configuration = 78
  /// A rank without a living supervisor that got nowhere ended itself.
  case orphaned = 79
  /// The gradient stayed non-finite or too large.
  case diverged = 80
}

/// An error a person can act on: one sentence that names the place, what was expected and what was
/// found, and the exit code that goes with it. Without a message it is another process's to tell.
package struct Failure: Error, CustomStringConvertible, Equatable {
  package let exitCode: ExitCode
  package let message: String

  package init(_ exitCode: ExitCode, _ message: String) {
    self.exitCode = exitCode
    self.message = message
  }

  package var description: String { message }
}
