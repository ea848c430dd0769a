/// Which ranks share memory: the nodes, numbered by their lowest rank.
package struct NodeTopology: Sendable, Equatable {
  package let nodeOfRank: [Int]
  private let ranksOfNode: [[Int]]

  /// Precondition: a node's number is the count of the nodes that begin with a lower rank.
  package init(nodeOfRank: [Int]) {
    var ranks: [[Int]] = []
    for (rank, node) in nodeOfRank.enumerated() {
      precondition(0...ranks.count ~= node, "nodes are numbered by their lowest rank")
      if node == ranks.count { ranks.append([]) }
      ranks[node].append(rank)
    }
    self.nodeOfRank = nodeOfRank
    ranksOfNode = ranks
  }

  /// Every rank a node of its own.
  static func separate(size: Int) -> NodeTopology { NodeTopology(nodeOfRank: Array(0..<size)) }

  /// The number of nodes.
  package var count: Int { ranksOfNode.count }

  /// The node's ranks, ascending.
  package func ranks(of node: Int) -> [Int] { ranksOfNode[node] }
}
