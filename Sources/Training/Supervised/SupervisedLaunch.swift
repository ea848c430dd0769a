import Core
import Foundation

/// What a supervisor tells the ranks it starts, through their environment.
package struct SupervisedLaunch: Equatable, Sendable {
  package static let jobVariable = "LOCKSTEP_JOB"
  package static let incarnationVariable = "LOCKSTEP_INCARNATION"
  package static let leaseVariable = "LOCKSTEP_LEASE"

  /// Names one supervisor process; 32 hexadecimal digits that no other process of this or another
  /// run carries.
  package let job: String
  /// The launch's number, which the supervisor has taken in the run directory.
  package let incarnation: Int
  /// The file the supervisor keeps alive.
  package let leasePath: String

  package init(job: String, incarnation: Int, leasePath: String) {
    self.job = job
    self.incarnation = incarnation
    self.leasePath = leasePath
  }

  /// Nil in an environment that no supervisor made.
  package init?(environment: [String: String]) {
    guard let job = environment[Self.jobVariable], Self.isJob(job),
      let number = environment[Self.incarnationVariable].flatMap(Int.init), number > 0,
      let path = environment[Self.leaseVariable], !path.isEmpty
    else { return nil }
    self.init(job: job, incarnation: number, leasePath: path)
  }

  /// Of this process.
  package static let current = SupervisedLaunch(
    environment: ProcessInfo.processInfo.environment)

  package var environment: [String: String] {
    [
      Self.jobVariable: job, Self.incarnationVariable: String(incarnation),
      Self.leaseVariable: leasePath,
    ]
  }

  package static func isJob(_ text: String) -> Bool {
    text.utf8.count == 32 && text.allSatisfy { $0.isHexDigit }
  }
}
