import Core
import Messaging
import Tensors

/// Brings updated weights from their owners to every other node that computes with them; inside a
/// node they lie once, where all its ranks read them.
package final class WeightSpread {
  private let communicator: any Communicator
  private let ownership: OwnershipMap
  private let usersOfSection: [[Int]]
  /// What arrives from other nodes in a step, in the order in which the owners send it.
  private let incoming: [(owner: Int, range: Range<Int>)]
  private var sends: [any PendingTransfers] = []
  private var receives: (any PendingTransfers)?

  private static let channel = 2

  /// - Parameter usersOfSection: the stages that compute with the weights of a section.
  package init(
    communicator: any Communicator, ownership: OwnershipMap, usersOfSection: [[Int]]
  ) {
    self.communicator = communicator
    self.ownership = ownership
    self.usersOfSection = usersOfSection
    let nodes = communicator.nodes
    let node = nodes.nodeOfRank[communicator.rank]
    var incoming: [(owner: Int, range: Range<Int>)] = []
    for bucket in ownership.buckets {
      let receivers = Self.receivers(bucket, ownership, usersOfSection[bucket.section], nodes, node)
      guard let place = receivers.firstIndex(of: communicator.rank) else { continue }
      for (replica, span) in bucket.spans.enumerated() {
        let owner = ownership.ranksOfStage[bucket.stage][replica]
        let part = equalShare(of: span, part: place, parts: receivers.count)
        guard nodes.nodeOfRank[owner] != node, !part.isEmpty else { continue }
        incoming.append((owner, part))
      }
    }
    self.incoming = incoming
  }

  /// Makes ready for the weights of other nodes; call it when nobody here computes with the old.
  package func begin(_ weights: Vector) throws(Failure) {
    guard !incoming.isEmpty else { return }
    let transfers = incoming.map { Transfer.receive(into: weights[$0.range], from: $0.owner) }
    receives = try communicator.start(transfers, channel: Self.channel)
  }

  /// Sends one updated span of this rank on its way.
  ///
  /// Order: every rank sends its spans in the order of the parameters.
  package func send(_ span: Range<Int>, of bucket: OwnershipMap.Bucket, _ weights: Vector)
    throws(Failure)
  {
    let nodes = communicator.nodes
    let own = nodes.nodeOfRank[communicator.rank]
    var transfers: [Transfer] = []
    for node in 0..<nodes.count where node != own {
      let receivers = Self.receivers(bucket, ownership, usersOfSection[bucket.section], nodes, node)
      for (place, rank) in receivers.enumerated() {
        let part = equalShare(of: span, part: place, parts: receivers.count)
        if !part.isEmpty { transfers.append(.send(weights[part], to: rank)) }
      }
    }
    guard !transfers.isEmpty else { return }
    sends.append(try communicator.start(transfers, channel: Self.channel))
  }

  /// Returns when every rank of this node sees all new weights.
  package func finish() throws(Failure) {
    for pending in sends { try pending.wait() }
    sends = []
    try receives?.wait()
    receives = nil
    try communicator.nodeBarrier()
  }

  /// The ranks of a node that receive a bucket, each its part: those that hold its stage, or else
  /// those of the first stage there that computes with it.
  private static func receivers(
    _ bucket: OwnershipMap.Bucket, _ ownership: OwnershipMap, _ users: [Int],
    _ nodes: NodeTopology, _ node: Int
  ) -> [Int] {
    for stage in [bucket.stage] + users {
      let ranks = ownership.ranksOfStage[stage].filter { nodes.nodeOfRank[$0] == node }
      if !ranks.isEmpty { return ranks }
    }
    return []
  }
}
