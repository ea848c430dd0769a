import Core
import Tensors

/// What the ranks of a job do together.
///
/// Collective: every rank calls the same operations in the same order; only `rank`, `size`,
/// `hostName`, `nodes`, `waits`, `start`, `exchange`, `moveMessagesOn` and `abort` are a rank's
/// own.
/// Throws: `Failure` (.internal) with operation, rank and reason. Which peers completed is unknown
/// afterwards, so nothing but `abort` makes sense.
package protocol Communicator: AnyObject {
  var rank: Int { get }
  var size: Int { get }
  var hostName: String { get }
  /// Which ranks share memory.
  var nodes: NodeTopology { get }
  /// What this rank waits for; lines about long waits only where somebody starts it.
  var waits: WaitWatch { get }

  /// From now on every rank is a node of its own, whatever memory it could share.
  ///
  /// Collective. Precondition: nothing is shared yet.
  func separateNodes()

  /// Returns when every rank has called it.
  func barrier() throws(Failure)

  /// The bytes the root gave; what the others give is ignored.
  func broadcast(_ bytes: [UInt8], from root: Int) throws(Failure) -> [UInt8]

  /// Every rank's bytes by rank; lengths may differ.
  func allGather(bytes: [UInt8]) throws(Failure) -> [[UInt8]]

  /// Every rank's values by rank; counts may differ.
  func allGather(_ values: [Double]) throws(Failure) -> [[Double]]

  /// Bitwise OR of every rank's flags.
  func agree(_ flags: UInt64) throws(Failure) -> UInt64

  /// Replaces every rank's vector by the sum of all; counts must agree.
  ///
  /// Order: whatever MPI takes, so the sum depends on the rank count and on MPI's version (on ranks
  /// that are threads: rank order).
  func allReduceSum(_ vector: Vector) throws(Failure)

  /// Starts all transfers and returns at once; the vectors belong to them until they are done.
  ///
  /// Order: the messages from one rank to another on one channel match in the order in which they
  /// were started. What a rank sends to itself is copied; both ends stand in one list.
  /// Precondition: `channel` is in 0...32_767. The result is waited for before `finish`.
  func start(_ transfers: [Transfer], channel: Int) throws(Failure) -> any PendingTransfers

  /// Gives started transfers the time to go on while this rank waits for something else; MPI has no
  /// thread of its own for that.
  func moveMessagesOn() throws(Failure)

  /// Zeroed memory that the ranks of this node read and write together; each gives the count of
  /// its own part, which may be 0.
  ///
  /// Collective: on all nodes in the same order and with the same purpose (a word for messages).
  /// The memory lasts until `finish`. Cost: pages nobody touches take no memory; a page lies near
  /// the core that touches it first, so the owner does that.
  /// Throws: `Failure` on all ranks of a node whose shared memory is too small.
  func shareNodeMemory(count: Int, _ purpose: String) throws(Failure) -> NodeMemory

  /// Counters by which the ranks of this node wait for each other without messages: `count` a rank,
  /// all 0.
  ///
  /// Collective, as `shareNodeMemory`; the ranks of a node give the same count, nodes may differ.
  func shareNodeCounters(count: Int) throws(Failure) -> NodeCounters

  /// Returns when every rank of this node has called it; what they wrote to node memory before is
  /// then visible.
  ///
  /// Collective: on all nodes in the same places.
  func nodeBarrier() throws(Failure)

  /// Names what the rank is about to do, for the comparison of `CheckedCommunicator`; nothing
  /// otherwise, not even the text is made.
  ///
  /// Collective.
  func declare(_ operation: @autoclosure () -> String) throws(Failure)

  /// Ends the job on every rank with an exit code; returns only where ranks are threads.
  func abort(_ code: ExitCode)

  /// The last call, on every rank. Leaving it out lets MPI report an abnormal end.
  func finish() throws(Failure)
}

extension Communicator {
  /// The ranks that share this rank's memory, itself included, ascending.
  package var nodeRanks: [Int] { nodes.ranks(of: nodes.nodeOfRank[rank]) }

  package func declare(_ operation: @autoclosure () -> String) throws(Failure) {}

  package func moveMessagesOn() throws(Failure) {}

  /// Starts all transfers, then waits for all: no order of the list can deadlock.
  ///
  /// Order: the messages from one rank to another match in the order of their lists. A rank may
  /// send to itself.
  package func exchange(_ transfers: [Transfer]) throws(Failure) {
    try start(transfers, channel: 0).wait()
  }
}
