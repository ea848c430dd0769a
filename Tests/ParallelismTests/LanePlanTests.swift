import Core
import Parallelism
import Tensors
import Testing

@Suite struct LanePlanTests {
  @Test(arguments: [1, 2, 4, 8, 16, 64]) func aReplicaHoldsFewGradients(lanes: Int) throws {
    for replicas in 1...lanes {
      let assignment = try LaneAssignment(lanes: lanes, replicas: replicas)
      for replica in 0..<replicas {
        let range = assignment.lanes(of: replica)
        let plan = LanePlan(lanes: range)
        // log2 + 1 for subtrees; a range that begins inside of one has more partial sums.
        let logarithm = Int.bitWidth - (range.count - 1).leadingZeroBitCount
        if plan.nodes.count == 1 { #expect(plan.slotCount == logarithm + 1) }
        #expect(plan.slotCount <= min(range.count, logarithm + 2))
      }
    }
  }

  /// Runs a plan on symbols: begins as early and completes as late as it allows, and the other way
  /// round; no slot may be taken twice and the sums must be those of the tree.
  @Test(arguments: [1, 2, 3, 5, 8]) func openLanesKeepTheirSlots(openLanes: Int) {
    for start in 0..<8 {
      for end in start + 1...16 {
        for isLate in [false, true] {
          check(LanePlan(lanes: start..<end, openLanes: openLanes), isLate: isLate)
        }
      }
    }
  }

  private func check(_ plan: LanePlan, isLate: Bool) {
    var slots = [String?](repeating: nil, count: plan.slotCount)
    func complete(_ lane: Int) {
      for merge in plan.merges(of: lane) {
        guard let left = slots[merge.left], let right = slots[merge.right] else {
          Issue.record("an empty slot is merged")
          return
        }
        slots[merge.left] = "(\(left)+\(right))"
        slots[merge.right] = nil
      }
    }
    for lane in plan.lanes {
      if isLate, lane - plan.openLanes >= plan.lanes.lowerBound { complete(lane - plan.openLanes) }
      #expect(slots[plan.slot(of: lane)] == nil, "the slot of lane \(lane) is taken")
      slots[plan.slot(of: lane)] = "\(lane)"
      if !isLate { complete(lane) }
    }
    if isLate { for lane in plan.lanes.suffix(plan.openLanes) { complete(lane) } }
    for placed in plan.nodes { #expect(slots[placed.slot] == symbol(placed.node.lanes)) }
  }

  private func symbol(_ lanes: Range<Int>) -> String {
    if lanes.count == 1 { return "\(lanes.lowerBound)" }
    let middle = lanes.lowerBound + lanes.count / 2
    return "(\(symbol(lanes.lowerBound..<middle))+\(symbol(middle..<lanes.upperBound)))"
  }

  @Test func aLayoutHoldsSubtreeSumsEveryStep() {
    let random = RandomStream(seed: 4, purpose: .synthesis, site: 0)
    let layout = GradientLayout(lanes: 3..<6, parts: [(100..<119, 1), (200..<205, 2)])
    let memory = FloatBuffer(count: layout.count)
    for step in 0..<3 {
      var lanes: [[Float]] = []
      for lane in 3..<6 {
        let gradient = layout.gradient(of: lane, part: 0, in: memory.view)
        #expect(gradient.origin == 100)
        for i in 0..<19 {
          gradient.vector.base[i] = Float(random.uniform(at: (step * 8 + lane) * 19 + i))
        }
        layout.gradient(of: lane, part: 1, in: memory.view).vector.fill(Float(lane))
        lanes.append(gradient.vector.array)
        // In two pieces: sections complete one after the other.
        layout.complete(lane, 107..<119, in: memory.view)
        layout.complete(lane, 100..<107, in: memory.view)
        layout.complete(lane, 200..<205, in: memory.view)
      }
      let nodes = layout.nodes(100..<119, in: memory.view)
      #expect(nodes.map(\.node.lanes) == [3..<4, 4..<6])
      #expect(nodes[0].gradient.array == lanes[0])
      #expect(nodes[1].gradient.array == zip(lanes[1], lanes[2]).map { $0 + $1 })
      #expect(layout.nodes(203..<205, in: memory.view).map(\.gradient.array) == [[3, 3], [9, 9]])
    }
  }

  @Test(arguments: [1, 2, 8, 16, 64]) func aTreeSumIsTheRecursiveSum(lanes: Int) throws {
    let random = RandomStream(seed: 5, purpose: .synthesis, site: 0)
    let count = 5_003
    let memory = FloatBuffer(count: lanes * count)
    for i in 0..<lanes * count { memory.view.base[i] = Float(random.uniform(at: i) - 0.5) }
    let vectors = (0..<lanes).map { memory.view[$0 * count..<($0 + 1) * count] }
    let expected = (0..<count).map { i in recursiveSum(vectors.map { $0.base[i] }) }
    // As single lanes, into the first source itself.
    let sum = TreeSum(sources: (0..<lanes).map { LaneTree.Node(lane: $0) })
    let scratch = FloatBuffer(count: sum.scratchSize)
    #expect(sum.results.map(\.node.lanes) == [0..<lanes])
    sum.run(vectors, into: [vectors[0]], scratch: scratch.view)
    #expect(vectors[0].array == expected)
  }

  @Test func aTreeSumOfSomeLanesGivesTheirCanonicalNodes() {
    let sum = TreeSum(sources: (3..<7).map { LaneTree.Node(lane: $0) })
    #expect(sum.results.map(\.node.lanes) == [3..<4, 4..<6, 6..<7])
    #expect(sum.results.map(\.source) == [0, nil, 3])
  }
}
