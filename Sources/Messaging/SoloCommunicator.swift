import Core
import Foundation
import Tensors

/// The one rank of a job without MPI: every operation with itself.
package final class SoloCommunicator: Communicator {
  package let rank = 0
  package let size = 1
  package let hostName = HostName.current
  package let nodes = NodeTopology.separate(size: 1)
  package let waits = WaitWatch(rank: 0, size: 1)

  package init() {}

  package func separateNodes() {}

  package func barrier() {}

  package func broadcast(_ bytes: [UInt8], from root: Int) -> [UInt8] {
    precondition(root == 0, "rank \(root) does not exist")
    return bytes
  }

  package func allGather(bytes: [UInt8]) -> [[UInt8]] { [bytes] }

  package func allGather(_ values: [Double]) -> [[Double]] { [values] }

  package func agree(_ flags: UInt64) -> UInt64 { flags }

  package func allReduceSum(_ vector: Vector) {}

  package func start(
    _ transfers: [Transfer], channel: Int
  ) throws(Failure) -> any PendingTransfers {
    let others = try exchangeWithSelf(transfers)
    precondition(others.isEmpty, "there is no other rank")
    return CompletedTransfers()
  }

  package func shareNodeMemory(count: Int, _ purpose: String) -> NodeMemory {
    NodeMemory(buffers: [0: NodeBuffer(count: count)])
  }

  package func shareNodeCounters(count: Int) throws(Failure) -> NodeCounters {
    try makeNodeCounters(count: count)
  }

  package func nodeBarrier() {}

  package func abort(_ code: ExitCode) { exit(code.rawValue) }

  package func finish() { waits.stop() }
}
