import Core
import Foundation
import Synchronization
import Tensors

/// One of several ranks that are threads of this process: the twin of `MPICommunicator` that tests
/// run on.
///
/// It is stricter than MPI: a send waits until it is received, lengths must agree, ranks that call
/// different operations are told so, and when all ranks wait for each other they all throw. Sharing
/// memory or counters with a node is here collective over the job.
package final class ThreadedCommunicator: Communicator {
  package let rank: Int
  package var size: Int { group.size }
  package let hostName: String
  package private(set) var nodes: NodeTopology
  package let waits: WaitWatch
  private let group: RankGroup
  private var unfinishedCount = 0

  init(rank: Int, group: RankGroup) {
    self.rank = rank
    self.group = group
    nodes = group.nodes
    waits = WaitWatch(rank: rank, size: group.size)
    hostName = "thread-\(rank)"
  }

  package func separateNodes() { nodes = .separate(size: size) }

  package func barrier() throws(Failure) {
    _ = try group.gather([], "barrier", rank: rank)
  }

  package func broadcast(_ bytes: [UInt8], from root: Int) throws(Failure) -> [UInt8] {
    precondition(0..<size ~= root, "rank \(root) does not exist")
    let own = rank == root ? bytes : []
    return try group.gather(own, "broadcast from \(root)", rank: rank)[root]
  }

  package func allGather(bytes: [UInt8]) throws(Failure) -> [[UInt8]] {
    try group.gather(bytes, "allGather of bytes", rank: rank)
  }

  package func allGather(_ values: [Double]) throws(Failure) -> [[Double]] {
    try group.gather(Bytes.of(values), "allGather of values", rank: rank).map(Bytes.doubles)
  }

  package func agree(_ flags: UInt64) throws(Failure) -> UInt64 {
    let own = withUnsafeBytes(of: flags) { Array($0) }
    let all = try group.gather(own, "agree", rank: rank)
    return all.reduce(0) { union, bytes in
      bytes.withUnsafeBytes { union | $0.loadUnaligned(as: UInt64.self) }
    }
  }

  package func allReduceSum(_ vector: Vector) throws(Failure) {
    let own = Array(vector.bytes)
    let all = try group.gather(own, "allReduceSum of \(vector.count) floats", rank: rank)
    vector.fill(0)
    for bytes in all {
      bytes.withUnsafeBytes { raw in
        for i in 0..<vector.count {
          vector.base[i] += raw.loadUnaligned(fromByteOffset: 4 * i, as: Float.self)
        }
      }
    }
  }

  package func start(
    _ transfers: [Transfer], channel: Int
  ) throws(Failure) -> any PendingTransfers {
    let others = try exchangeWithSelf(transfers)
    unfinishedCount += 1
    return Pending(group.start(others, channel: channel, rank: rank), of: self)
  }

  package func shareNodeMemory(count: Int, _ purpose: String) throws(Failure) -> NodeMemory {
    NodeMemory(
      buffers: try group.share(
        NodeBuffer(count: count), with: nodeRanks, "shareNodeMemory of \(purpose)", rank: rank))
  }

  package func shareNodeCounters(count: Int) throws(Failure) -> NodeCounters {
    try makeNodeCounters(count: count, group: group)
  }

  package func nodeBarrier() throws(Failure) {
    try group.nodeBarrier(with: nodeRanks, rank: rank)
  }

  package func abort(_ code: ExitCode) {
    group.end(Failure(code, "rank \(rank) ended the job with exit code \(code.rawValue)"))
  }

  package func finish() throws(Failure) {
    try checkNothingIsPending(unfinishedCount)
    try barrier()
  }

  private final class Pending: PendingTransfers {
    private let messages: [RankGroup.Message]
    private let communicator: ThreadedCommunicator
    private var isFinished = false

    init(_ messages: [RankGroup.Message], of communicator: ThreadedCommunicator) {
      self.messages = messages
      self.communicator = communicator
    }

    func isDone() throws(Failure) -> Bool {
      let isDone = try communicator.group.areDone(messages, rank: communicator.rank)
      if isDone { finish() }
      return isDone
    }

    func wait() throws(Failure) {
      try communicator.group.wait(for: messages, rank: communicator.rank)
      finish()
    }

    private func finish() {
      if !isFinished { communicator.unfinishedCount -= 1 }
      isFinished = true
    }
  }
}

/// Runs `body` once a rank, each on its own thread, and returns the results by rank.
///
/// `nodes` counts the ranks of each node, in order; by default all share one.
/// Throws: the first error any rank threw; the others are released from whatever they wait for.
package func withRanks<Result: Sendable>(
  _ count: Int, nodes: [Int]? = nil,
  _ body: @escaping @Sendable (ThreadedCommunicator) throws -> Result
) throws -> [Result] {
  precondition(count > 0, "a job has at least one rank")
  let ranksOfNodes = nodes ?? [count]
  precondition(ranksOfNodes.reduce(0, +) == count, "every rank has a node")
  let topology = NodeTopology(
    nodeOfRank: ranksOfNodes.enumerated().flatMap { Array(repeating: $0, count: $1) })
  let group = RankGroup(nodes: topology)
  let outcome = RankOutcome<Result>(count: count)
  for rank in 0..<count {
    @Sendable func end(_ error: any Error) {
      outcome.firstError.withLock { $0 = $0 ?? error }
      group.end(Failure(.internal, "rank \(rank) failed: \(error)"))
    }
    do throws(Failure) {
      try ServiceThread.start("rank \(rank)") {
        do {
          let result = try body(ThreadedCommunicator(rank: rank, group: group))
          outcome.results.withLock { $0[rank] = result }
        } catch {
          end(error)
        }
        group.leave(rank)
      }
    } catch {
      end(error)
      group.leave(rank)
    }
  }
  group.waitUntilAllLeft()
  if let error = outcome.firstError.withLock({ $0 }) { throw error }
  return outcome.results.withLock { $0.compactMap { $0 } }
}

private final class RankOutcome<Result: Sendable>: Sendable {
  let results: Mutex<[Result?]>
  let firstError = Mutex<(any Error)?>(nil)

  init(count: Int) { results = Mutex([Result?](repeating: nil, count: count)) }
}
