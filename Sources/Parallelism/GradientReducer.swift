import Core
import Messaging
import Tensors

/// Sums the lane gradients of all replicas, each owner its span, in the order of the lane tree.
///
/// The sum is the same to the last bit for every number of replicas, because each of them sends
/// its canonical nodes as they are and only the owner adds.
package final class GradientReducer {
  private let communicator: any Communicator
  private let assignment: LaneAssignment
  private let ownership: OwnershipMap
  private let pieceCount: Int
  private let owned: FloatBuffer
  private let scratch: FloatBuffer
  private let nodesOfReplica: [[LaneTree.Node]]

  /// - Parameter pieceCount: how many elements of a node travel at once; a round's pieces from all
  ///   replicas should fit in the cache together.
  package init(
    communicator: any Communicator, assignment: LaneAssignment, ownership: OwnershipMap,
    pieceCount: Int = 1 << 18
  ) {
    precondition(assignment.replicas == communicator.size, "one replica for each rank")
    precondition(ownership.spans.count == communicator.size, "one owned span for each rank")
    precondition(pieceCount > 0, "a piece has elements")
    self.communicator = communicator
    self.assignment = assignment
    self.ownership = ownership
    let nodes = (0..<assignment.replicas).map {
      LaneTree.canonicalNodes(assignment.lanes(of: $0))
    }
    nodesOfReplica = nodes
    let rank = communicator.rank
    let span = ownership.spans[rank]
    self.pieceCount = pieceCount
    let remoteNodes = nodes.indices.filter { $0 != rank }.map { nodes[$0].count }.reduce(0, +)
    owned = FloatBuffer(count: communicator.size == 1 ? 0 : span.count)
    scratch = FloatBuffer(count: remoteNodes * min(pieceCount, span.count))
  }

  /// What the reducer occupies beside the accumulator's gradients.
  package var byteCount: Int { (owned.count + scratch.count) * MemoryLayout<Float>.stride }

  /// The summed gradient of this rank's span, valid until the next step.
  ///
  /// Collective. Writes: the accumulator's nodes are used up inside the own span.
  package func reduce(_ accumulator: LaneAccumulator) throws(Failure) -> Vector {
    precondition(
      accumulator.lanes == assignment.lanes(of: communicator.rank)
        && accumulator.parameterCount == ownership.parameterCount,
      "the accumulator belongs to another rank or model")
    let own = accumulator.nodes
    if communicator.size == 1 {
      precondition(own.count == 1, "one replica holds the root")
      return own[0].gradient
    }
    let span = ownership.spans[communicator.rank]
    for number in 0..<ownership.pieceCount(pieceCount) {
      let piece = ownership.piece(number, of: communicator.rank, count: pieceCount)
      let received = try exchange(own, number: number, ownCount: piece.count)
      guard !piece.isEmpty else { continue }
      let start = piece.lowerBound - span.lowerBound
      sum(
        own.map { ($0.node, $0.gradient[piece]) }, received,
        into: owned.view[start..<start + piece.count])
    }
    return owned.view
  }

  /// Sends one piece of each node to its owner and receives the others' nodes of the own piece.
  private func exchange(
    _ own: [(node: LaneTree.Node, gradient: Vector)], number: Int, ownCount: Int
  ) throws(Failure) -> [[(LaneTree.Node, Vector)]] {
    let rank = communicator.rank
    var transfers: [Transfer] = []
    var received = [[(LaneTree.Node, Vector)]](repeating: [], count: communicator.size)
    var used = 0
    for peer in received.indices where peer != rank && ownCount > 0 {
      for node in nodesOfReplica[peer] {
        let slice = scratch.view[used..<used + ownCount]
        used += ownCount
        received[peer].append((node, slice))
        transfers.append(.receive(into: slice, from: peer))
      }
    }
    // A rank starts with its successor, so that not everybody talks to rank 0 first.
    for offset in 1..<communicator.size {
      let peer = (rank + offset) % communicator.size
      let piece = ownership.piece(number, of: peer, count: pieceCount)
      guard !piece.isEmpty else { continue }
      for (_, gradient) in own { transfers.append(.send(gradient[piece], to: peer)) }
    }
    try communicator.exchange(transfers)
    return received
  }

  /// Adds the nodes of all replicas in tree order; the root goes to `target`.
  private func sum(
    _ own: [(LaneTree.Node, Vector)], _ received: [[(LaneTree.Node, Vector)]],
    into target: Vector
  ) {
    var counter = LaneCounter<Vector>()
    for replica in received.indices {
      for (node, slice) in replica == communicator.rank ? own : received[replica] {
        counter.push(node, slice) { left, right, parent in
          let place = parent.lanes.count == assignment.lanes ? target : left
          add(left, right, into: place)
          return place
        }
      }
    }
    precondition(
      counter.entries.count == 1 && counter.entries[0].node.lanes == 0..<assignment.lanes,
      "the replicas' nodes do not make up all lanes")
  }
}
