import Core
import Tensors

/// One message of an exchange; both ends name the same count.
package enum Transfer {
  case send(Vector, to: Int)
  case receive(into: Vector, from: Int)
}

/// What the ranks of a job do together.
///
/// Collective: every rank calls the same operations in the same order; only `rank`, `size`,
/// `hostName` and `abort` are a rank's own.
/// Throws: `Failure` (.internal) with operation, rank and reason. Which peers completed is unknown
/// afterwards, so nothing but `abort` makes sense.
package protocol Communicator: AnyObject {
  var rank: Int { get }
  var size: Int { get }
  var hostName: String { get }

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

  /// Starts all transfers, then waits for all: no order of the list can deadlock.
  ///
  /// Order: the messages from one rank to another match in the order of their lists. A rank may
  /// send to itself.
  func exchange(_ transfers: [Transfer]) throws(Failure)

  /// Ends the job on every rank with an exit code; returns only where ranks are threads.
  func abort(_ code: ExitCode)

  /// The last call, on every rank. Leaving it out lets MPI report an abnormal end.
  func finish() throws(Failure)
}

extension Communicator {
  /// Completes a vector of which each rank has filled its own span.
  ///
  /// Precondition: `spans` holds one span a rank and is the same everywhere; spans do not overlap,
  /// some may be empty.
  package func allGatherInPlace(_ vector: Vector, spans: [Range<Int>]) throws(Failure) {
    precondition(spans.count == size, "one span for each rank")
    // A rank starts with its successor, so that not everybody talks to rank 0 first.
    let peers = (1..<max(1, size)).map { (rank + $0) % size }
    let receives = peers.filter { !spans[$0].isEmpty }.map {
      Transfer.receive(into: vector[spans[$0]], from: $0)
    }
    let own = vector[spans[rank]]
    let sends = own.count == 0 ? [] : peers.map { Transfer.send(own, to: $0) }
    try exchange(receives + sends)
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
