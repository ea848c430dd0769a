import Core
import Parallelism
import Testing

@Suite struct ProcessGridTests {
  /// Every way in which ranks can lie on nodes, nodes numbered by their lowest rank.
  private func layouts(ranks: Int) -> [[Int]] {
    var layouts: [[Int]] = [[]]
    for _ in 0..<ranks {
      layouts = layouts.flatMap { layout in
        (0...((layout.max() ?? -1) + 1)).map { layout + [$0] }
      }
    }
    return layouts
  }

  @Test func ranksAreTakenNodeByNode() throws {
    let grid = try ProcessGrid(nodeOfRank: [0, 1, 0, 1, 0, 1], stages: 2)
    #expect(grid.replicas == 3)
    #expect((0..<2).map { grid.ranks(ofStage: $0) } == [[0, 4, 3], [2, 1, 5]])
    #expect((0..<6).map { grid.replica(of: $0) } == [0, 1, 0, 2, 1, 2])
    #expect((0..<6).map { grid.stage(of: $0) } == [0, 1, 1, 0, 0, 1])
  }

  @Test(arguments: 1...6) func everyLayoutIsCutConsistently(ranks: Int) throws {
    for layout in layouts(ranks: ranks) {
      let nodes = (0...(layout.max() ?? 0)).map { node in
        layout.indices.filter { layout[$0] == node }
      }
      for stages in 1...ranks where ranks.isMultiple(of: stages) {
        let grid = try ProcessGrid(nodeOfRank: layout, stages: stages)
        #expect(grid.replicas * grid.stages == ranks)
        var order: [Int] = []
        for replica in 0..<grid.replicas {
          for stage in 0..<stages {
            let rank = grid.rank(replica: replica, stage: stage)
            #expect(grid.replica(of: rank) == replica && grid.stage(of: rank) == stage)
            #expect(grid.ranks(ofStage: stage)[replica] == rank)
            order.append(rank)
          }
        }
        // Node by node, ascending inside a node, each rank once.
        #expect(order == nodes.flatMap { $0 })
        for own in nodes {
          // The replicas of a node are neighbours.
          let replicas = own.map { grid.replica(of: $0) }
          #expect(replicas == replicas.sorted())
          #expect((replicas.last ?? 0) - (replicas.first ?? 0) == Set(replicas).count - 1)
        }
      }
    }
  }

  @Test(arguments: [
    (6, 4, "4 stages for 6 ranks; start 4 or 8 ranks"),
    (2, 3, "3 stages for 2 ranks; start 3 ranks"),
    (7, 2, "2 stages for 7 ranks; start 6 or 8 ranks"),
  ])
  func ranksThatAreNoMultipleOfTheStagesAreRefused(
    ranks: Int, stages: Int, found: String
  ) {
    #expect(
      throws: Failure(
        .configuration,
        "parallel.stages: expected a divisor of the number of ranks, found \(found) or choose "
          + "another number of stages")
    ) {
      try ProcessGrid(nodeOfRank: Array(repeating: 0, count: ranks), stages: stages)
    }
  }

  @Test(arguments: [0, -2]) func aPipelineHasStages(stages: Int) {
    #expect(
      throws: Failure(.configuration, "parallel.stages: expected 1 or more, found \(stages)")
    ) {
      try ProcessGrid(nodeOfRank: [0, 0], stages: stages)
    }
  }
}
