import Core
import Messaging

/// Which rank is which stage of which replica, node by node. All arithmetic on ranks is here.
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
  package let stages: Int
  package let replicas: Int
  /// The rank at each position.
  private let rankAt: [Int]
  /// The position of each rank: the inverse of `rankAt`.
  private let positionOf: [Int]

  /// Precondition: nodes are numbered by their lowest rank, as in `NodeTopology`.
  ///
  /// Throws: `Failure` (.configuration) when the ranks are not a multiple of the stages.
  package init(nodeOfRank: [Int], stages: Int) throws(Failure) {
    precondition(!nodeOfRank.isEmpty, "a job has a rank")
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
    self.stages = stages
    replicas = ranks / stages
    let nodes = NodeTopology(nodeOfRank: nodeOfRank)
    rankAt = (0..<nodes.count).flatMap { nodes.ranks(of: $0) }
    var positionOf = [Int](repeating: 0, count: ranks)
    for (position, rank) in rankAt.enumerated() { positionOf[rank] = position }
    self.positionOf = positionOf
  }

  /// "4 or 8" for 6 ranks and 4 stages.
  private static func multiples(of stages: Int, around ranks: Int) -> String {
    let below = ranks / stages * stages
    return below == 0 ? "\(stages)" : "\(below) or \(below + stages)"
  }

  package func rank(replica: Int, stage: Int) -> Int {
    precondition(0..<replicas ~= replica && 0..<stages ~= stage, "no such place in the grid")
    return rankAt[replica * stages + stage]
  }

  package func replica(of rank: Int) -> Int { positionOf[rank] / stages }

  package func stage(of rank: Int) -> Int { positionOf[rank] % stages }

  /// The ranks that hold a stage, one a replica, in replica order.
  package func ranks(ofStage stage: Int) -> [Int] {
    (0..<replicas).map { rank(replica: $0, stage: stage) }
  }
}
