/// The ranks that hold one stage, one a replica, and how they share nodes.
package struct ExchangeGroup: Sendable, Equatable {
  /// By replica.
  package let ranks: [Int]
  /// The replicas of each node that has any, in replica order; each contiguous.
  package let nodes: [Range<Int>]
  /// The replica of this rank.
  package let replica: Int

  /// Precondition: replicas that share a node follow each other.
  package init(ranks: [Int], nodeOfRank: [Int], replica: Int) {
    precondition(ranks.indices.contains(replica), "this rank belongs to the group")
    var nodes: [Range<Int>] = []
    for (index, rank) in ranks.enumerated() {
      if index > 0, nodeOfRank[rank] == nodeOfRank[ranks[index - 1]] {
        nodes[nodes.count - 1] = nodes[nodes.count - 1].lowerBound..<index + 1
      } else {
        nodes.append(index..<index + 1)
      }
    }
    let places = nodes.map { nodeOfRank[ranks[$0.lowerBound]] }
    precondition(Set(places).count == places.count, "replicas of a node follow each other")
    self.ranks = ranks
    self.nodes = nodes
    self.replica = replica
  }

  /// The node of this rank, an index of `nodes`.
  package var node: Int { node(of: replica) }

  /// The replicas whose memory this rank reads.
  package var neighbours: Range<Int> { nodes[node] }

  package func node(of replica: Int) -> Int {
    nodes.firstIndex { $0.contains(replica) } ?? 0
  }

  /// Which part of a span a replica takes care of for its node.
  func share(of span: Range<Int>, for replica: Int) -> Range<Int> {
    let members = nodes[node(of: replica)]
    return equalShare(of: span, part: replica - members.lowerBound, parts: members.count)
  }
}
