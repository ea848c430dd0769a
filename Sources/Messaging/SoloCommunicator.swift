import Core
import Foundation
import Tensors

/// The one rank of a job without MPI: every operation with itself.
package final class SoloCommunicator: Communicator {
  package let rank = 0
  package let size = 1
  package let hostName = Launch.hostName

  package init() {}

  package func barrier() {}

  package func broadcast(_ bytes: [UInt8], from root: Int) -> [UInt8] {
    precondition(root == 0, "rank \(root) does not exist")
    return bytes
  }

  package func allGather(bytes: [UInt8]) -> [[UInt8]] { [bytes] }

  package func allGather(_ values: [Double]) -> [[Double]] { [values] }

  package func agree(_ flags: UInt64) -> UInt64 { flags }

  package func exchange(_ transfers: [Transfer]) throws(Failure) {
    let others = try exchangeWithSelf(transfers)
    precondition(others.isEmpty, "there is no other rank")
  }

  package func abort(_ code: ExitCode) { exit(code.rawValue) }

  package func finish() {}
}
