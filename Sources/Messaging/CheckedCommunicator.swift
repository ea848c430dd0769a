import Core
import Tensors

/// A communicator whose ranks first compare what they are about to do together: a program error
/// that would be a hang, or a wrong result, becomes a sentence that names it.
///
/// What is collective over a node is compared over the job, but for counts, which nodes need not
/// have in common. Cost: an exchange of the call's text a call; `start`, `exchange` and
/// `moveMessagesOn` are not collective and pass through.
/// Throws: `Failure` (.outOfLockstep), on every rank, where calls differ.
package final class CheckedCommunicator: Communicator {
  private let base: any Communicator

  package init(_ base: any Communicator) { self.base = base }

  package var rank: Int { base.rank }
  package var size: Int { base.size }
  package var hostName: String { base.hostName }
  package var nodes: NodeTopology { base.nodes }
  package var waits: WaitWatch { base.waits }

  package func separateNodes() { base.separateNodes() }

  package func barrier() throws(Failure) {
    try compare("barrier")
    try base.barrier()
  }

  package func broadcast(_ bytes: [UInt8], from root: Int) throws(Failure) -> [UInt8] {
    try compare("broadcast from \(root)")
    return try base.broadcast(bytes, from: root)
  }

  package func allGather(bytes: [UInt8]) throws(Failure) -> [[UInt8]] {
    try compare("allGather of bytes")
    return try base.allGather(bytes: bytes)
  }

  package func allGather(_ values: [Double]) throws(Failure) -> [[Double]] {
    try compare("allGather of values")
    return try base.allGather(values)
  }

  package func agree(_ flags: UInt64) throws(Failure) -> UInt64 {
    try compare("agree")
    return try base.agree(flags)
  }

  package func allReduceSum(_ vector: Vector) throws(Failure) {
    try compare("allReduceSum of \(vector.count) floats")
    try base.allReduceSum(vector)
  }

  package func start(
    _ transfers: [Transfer], channel: Int
  ) throws(Failure) -> any PendingTransfers {
    try base.start(transfers, channel: channel)
  }

  package func moveMessagesOn() throws(Failure) { try base.moveMessagesOn() }

  package func shareNodeMemory(count: Int, _ purpose: String) throws(Failure) -> NodeMemory {
    try compare("shareNodeMemory of \(purpose)")
    return try base.shareNodeMemory(count: count, purpose)
  }

  package func shareNodeCounters(count: Int) throws(Failure) -> NodeCounters {
    try compare("shareNodeCounters")
    return try base.shareNodeCounters(count: count)
  }

  package func nodeBarrier() throws(Failure) {
    try compare("nodeBarrier")
    try base.nodeBarrier()
  }

  package func declare(_ operation: @autoclosure () -> String) throws(Failure) {
    try compare(operation())
  }

  package func abort(_ code: ExitCode) { base.abort(code) }

  package func finish() throws(Failure) {
    try compare("finish")
    try base.finish()
  }

  /// As every collective call comes here first, it is always this gather that meets this gather.
  private func compare(_ call: String) throws(Failure) {
    let calls = try base.allGather(bytes: Array(call.utf8))
    guard let other = calls.firstIndex(where: { $0 != calls[0] }) else { return }
    let texts = [other, 0].map { "rank \($0) calls " + String(decoding: calls[$0], as: UTF8.self) }
    throw Failure(.outOfLockstep, texts.joined(separator: ", "))
  }
}
