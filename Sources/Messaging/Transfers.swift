import Core
import Tensors

/// One message of an exchange; both ends name the same count.
package enum Transfer {
  case send(Vector, to: Int)
  case receive(into: Vector, from: Int)
}

/// Transfers on their way.
///
/// Every call of a communicator that waits for messages moves on all transfers that this rank has
/// started there, not only its own; calls of `NodeMailboxes` do so for those of the mailboxes.
package protocol PendingTransfers: AnyObject {
  /// True once all are complete: what was sent may be overwritten, what was received may be read.
  func isDone() throws(Failure) -> Bool

  func wait() throws(Failure)

  /// The ranks at the other end of what is not complete, where that can be told.
  func missingRanks() throws(Failure) -> [Int]
}

extension PendingTransfers {
  package func missingRanks() -> [Int] { [] }
}

/// Transfers that were complete when they were started.
final class CompletedTransfers: PendingTransfers {
  func isDone() -> Bool { true }
  func wait() {}
}

extension Communicator {
  /// Ends a program error early that MPI would end with memory written behind its owner's back.
  func checkNothingIsPending(_ count: Int) throws(Failure) {
    guard count == 0 else {
      throw Failure(
        .internal, "finish on rank \(rank): \(count) started exchanges were never waited for")
    }
  }

  /// Copies what this rank sends to itself and returns the other transfers.
  ///
  /// MPI could do it, but OpenMPI 4.1 cuts a message to itself that is too long without an error.
  func exchangeWithSelf(_ transfers: [Transfer]) throws(Failure) -> [Transfer] {
    var sources: [Vector] = []
    var targets: [Vector] = []
    var others: [Transfer] = []
    for transfer in transfers {
      switch transfer {
      case .send(let vector, rank): sources.append(vector)
      case .receive(let vector, rank): targets.append(vector)
      default: others.append(transfer)
      }
    }
    guard sources.map(\.count) == targets.map(\.count) else {
      throw Failure(
        .internal,
        "exchange on rank \(rank) with itself: it sends \(sources.map(\.count)) floats and "
          + "expects \(targets.map(\.count))")
    }
    for (source, target) in zip(sources, targets) { target.copy(from: source) }
    return others
  }
}
