import Core
import Messaging
import Parallelism
import Tensors
import Testing

/// The sum the lane tree stands for, by its definition.
func recursiveSum(_ values: [Float]) -> Float {
  if values.count == 1 { return values[0] }
  let half = values.count / 2
  return recursiveSum(Array(values[..<half])) + recursiveSum(Array(values[half...]))
}

@Suite struct LaneTests {
  @Test func lanesAreSharedAsEquallyAsPossibleLargerFirst() throws {
    let assignment = try LaneAssignment(lanes: 8, replicas: 3)
    #expect((0..<3).map { assignment.lanes(of: $0) } == [0..<3, 3..<6, 6..<8])
  }

  @Test(arguments: [1, 2, 4, 8, 16, 64]) func everyLaneHasOneReplica(lanes: Int) throws {
    for replicas in 1...lanes {
      let assignment = try LaneAssignment(lanes: lanes, replicas: replicas)
      let ranges = (0..<replicas).map { assignment.lanes(of: $0) }
      #expect(ranges.flatMap { Array($0) } == Array(0..<lanes))
      #expect(ranges.map(\.count) == ranges.map(\.count).sorted(by: >))
      #expect(ranges[0].count - ranges[replicas - 1].count <= 1)
    }
  }

  @Test(arguments: [(8, 9), (8, 0), (6, 2), (0, 1), (-8, 1)])
  func impossibleAssignmentsAreConfigurationErrors(lanes: Int, replicas: Int) {
    #expect {
      try LaneAssignment(lanes: lanes, replicas: replicas)
    } throws: { ($0 as? Failure)?.exitCode == .configuration }
  }

  @Test(arguments: [1, 2, 4, 8, 16, 32]) func canonicalNodesAreMaximalAndComplete(lanes: Int) {
    for start in 0..<lanes {
      for end in start + 1...lanes {
        let nodes = LanePlan(lanes: start..<end).nodes.map(\.node)
        #expect(nodes.flatMap { Array($0.lanes) } == Array(start..<end))
        // Maximal: no node's parent lies in the range as well.
        for node in nodes {
          let parent = node.parent.lanes
          #expect(parent.lowerBound < start || parent.upperBound > end)
        }
      }
    }
  }

  @Test(arguments: [1, 2, 4, 8, 16]) func treeSumIsTheRecursiveSum(lanes: Int) {
    let random = RandomStream(seed: 3, purpose: .synthesis, site: lanes)
    let values = (0..<lanes).map { random.uniform(at: $0) - 0.5 }
    func recursive(_ v: ArraySlice<Double>) -> Double {
      if v.count == 1 { return v[v.startIndex] }
      let middle = v.startIndex + v.count / 2
      return recursive(v[..<middle]) + recursive(v[middle...])
    }
    #expect(LaneTree.sum(values) == recursive(values[...]))
  }

  @Test(arguments: [1, 2, 3, 5, 8]) func laneSumsDoNotDependOnTheReplicas(replicas: Int) throws {
    let random = RandomStream(seed: 9, purpose: .synthesis, site: 0)
    let losses = (0..<8).map { [random.uniform(at: $0), Double($0 * 100 + 7)] }
    let sums = try withRanks(replicas) { communicator in
      let assignment = try LaneAssignment(lanes: 8, replicas: replicas)
      return try LaneSums.reduce(
        Array(losses[assignment.lanes(of: communicator.rank)]), assignment: assignment,
        from: Array(0..<replicas), over: communicator)
    }
    let expected = [LaneTree.sum(losses.map { $0[0] }), LaneTree.sum(losses.map { $0[1] })]
    for sum in sums { #expect(sum == expected) }
    #expect(expected[1] == 2_856)
  }
}
