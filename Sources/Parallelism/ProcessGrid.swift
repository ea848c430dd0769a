import Core

/// Which rank is which stage of which replica, and who shares memory with whom. All arithmetic on
/// ranks is here.
///
/// ```
/// node of rank   0 1 0 1 0 1      2 stages
/// position       0 1 2 3 4 5      ranks node by node, ascending inside a node
/// rank           0 2 4 1 3 5
/// replica        0 0 1 1 2 2      position / stages
/// stage          0 1 0 1 0 1      position % stages
/// ```
///
/// So a replica lies on as few nodes as its size allows, and the replicas of a node own
/// neighbouring lanes.
package struct ProcessGrid: Sendable, Equatable {
  package let nodeOfRank: [Int]
  package let stages: Int
  package let replicas: Int
  package let nodes: Int
  /// The rank at each position.
  private let rankAt: [Int]
  /// The position of each rank: the inverse of `rankAt`.
  private let positionOf: [Int]

  /// Precondition: nodes are numbered by their lowest rank: the first rank is on node 0, and a node
  /// that appears for the first time has the next number.
  ///
  /// Throws: `Failure` (.configuration) when the ranks are not a multiple of the stages.
  package init(nodeOfRank: [Int], stages: Int) throws(Failure) {
    var nodes = 0
    for node in nodeOfRank {
      precondition(0...nodes ~= node, "nodes are numbered by their lowest rank")
      nodes = max(nodes, node + 1)
    }
    precondition(nodes > 0, "a job has a rank")
    guard stages > 0 else {
      throw Failure(.configuration, "parallel.stages: expected 1 or more, found \(stages)")
    }
    let ranks = nodeOfRank.count
    guard ranks.isMultiple(of: stages) else {
      throw Failure(
        .configuration,
        "parallel.stages: expected a divisor of the number of ranks, found \(stages) stages for "
          + "\(ranks) ranks; start \(Self.multiples(of: stages, around: ranks)) ranks or choose "
          + "another number of stages")
    }
    self.nodeOfRank = nodeOfRank
    self.stages = stages
    self.nodes = nodes
    replicas = ranks / stages
    rankAt = (0..<ranks).sorted { (nodeOfRank[$0], $0) < (nodeOfRank[$1], $1) }
    var positionOf = [Int](repeating: 0, count: ranks)
    for (position, rank) in rankAt.enumerated() { positionOf[rank] = position }
    self.positionOf = positionOf
  }

  /// "4 or 8" for 6 ranks and 4 stages.
  private static func multiples(of stages: Int, around ranks: Int) -> String {
    let below = ranks / stages * stages
    return below == 0 ? "\(stages)" : "\(below) or \(below + stages)"
  }

  package var rankCount: Int { nodeOfRank.count }

  // MARK: One rank

  package func rank(replica: Int, stage: Int) -> Int {
    precondition(0..<replicas ~= replica && 0..<stages ~= stage, "no such place in the grid")
    return rankAt[replica * stages + stage]
  }

  package func replica(of rank: Int) -> Int { positionOf[rank] / stages }

  package func stage(of rank: Int) -> Int { positionOf[rank] % stages }

  package func node(of rank: Int) -> Int { nodeOfRank[rank] }

  // MARK: Groups of ranks

  /// The ranks that hold a stage, one a replica, in replica order.
  package func ranks(ofStage stage: Int) -> [Int] {
    (0..<replicas).map { rank(replica: $0, stage: stage) }
  }

  /// The ranks of a replica, one a stage, in stage order.
  package func ranks(ofReplica replica: Int) -> [Int] {
    (0..<stages).map { rank(replica: replica, stage: $0) }
  }

  /// The ranks of a node, ascending: also in the order of their positions.
  package func ranks(onNode node: Int) -> [Int] {
    precondition(0..<nodes ~= node, "node \(node) does not exist")
    return rankAt.filter { nodeOfRank[$0] == node }
  }

  /// The ranks of a node that hold a stage, in replica order.
  package func ranks(ofStage stage: Int, onNode node: Int) -> [Int] {
    ranks(ofStage: stage).filter { nodeOfRank[$0] == node }
  }

  /// The ranks of a replica that lie on a node, in stage order.
  package func ranks(ofReplica replica: Int, onNode node: Int) -> [Int] {
    ranks(ofReplica: replica).filter { nodeOfRank[$0] == node }
  }

  /// The nodes with a rank that holds a stage, ascending.
  package func nodes(hostingStage stage: Int) -> [Int] {
    Set(ranks(ofStage: stage).map { nodeOfRank[$0] }).sorted()
  }

  /// The stages that ranks of a node hold, ascending: the parameters a node needs.
  package func stages(onNode node: Int) -> [Int] {
    Set(ranks(onNode: node).map { stage(of: $0) }).sorted()
  }
}
