import Core
import Foundation
import Synchronization
import Tensors

/// One of several ranks that are threads of this process: the twin of `MPICommunicator` that tests
/// run on.
///
/// It is stricter than MPI: a send waits until it is received, lengths must agree, ranks that call
/// different operations are told so, and when all ranks wait for each other they all throw.
package final class ThreadedCommunicator: Communicator {
  package let rank: Int
  package var size: Int { group.size }
  package let hostName: String
  private let group: RankGroup

  init(rank: Int, group: RankGroup) {
    self.rank = rank
    self.group = group
    hostName = "thread-\(rank)"
  }

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

  package func exchange(_ transfers: [Transfer]) throws(Failure) {
    try group.exchange(transfers, rank: rank)
  }

  package func abort(_ code: ExitCode) {
    group.end(Failure(code, "rank \(rank) ended the job with exit code \(code.rawValue)"))
  }

  package func finish() throws(Failure) { try barrier() }
}

/// Runs `body` once a rank, each on its own thread, and returns the results by rank.
///
/// Throws: the first error any rank threw; the others are released from whatever they wait for.
package func withRanks<Result: Sendable>(
  _ count: Int, _ body: @escaping @Sendable (ThreadedCommunicator) throws -> Result
) throws -> [Result] {
  precondition(count > 0, "a job has at least one rank")
  let group = RankGroup(size: count)
  let outcome = RankOutcome<Result>(count: count)
  for rank in 0..<count {
    Thread {
      do {
        let result = try body(ThreadedCommunicator(rank: rank, group: group))
        outcome.results.withLock { $0[rank] = result }
      } catch {
        outcome.firstError.withLock { $0 = $0 ?? error }
        group.end(Failure(.internal, "rank \(rank) failed: \(error)"))
      }
      group.leave(rank)
    }.start()
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
