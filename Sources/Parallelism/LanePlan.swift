/// Where a replica keeps the gradients of its lanes: the slot each lane is computed in, the slots
/// that are merged once it is complete, and those that hold the partial sums at the end.
///
/// It follows from the lanes alone, so every rank knows where its neighbours' sums lie.
package struct LanePlan: Sendable, Equatable {
  /// The slot `left` becomes left + right.
  package struct Merge: Sendable, Equatable {
    package let left: Int
    package let right: Int
  }

  /// A partial sum of the replica and the slot it ends in.
  package struct PlacedNode: Sendable, Equatable {
    package let node: LaneTree.Node
    package let slot: Int
  }

  package let lanes: Range<Int>
  /// How many lanes may be begun and not complete at once.
  package let openLanes: Int
  /// How many gradients are held at most.
  package let slotCount: Int
  /// The canonical nodes of the lanes, the fewest that make them up, left to right.
  package let nodes: [PlacedNode]
  private let slots: [Int]
  private let merges: [[Merge]]

  package init(lanes: Range<Int>, openLanes: Int = 1) {
    precondition(!lanes.isEmpty && openLanes > 0, "a replica has at least one lane, open or not")
    var counter = LaneCounter<Int>()
    var free: [Int] = []
    var slotCount = 0
    var slots: [Int] = []
    var merges: [[Merge]] = []
    func complete(_ lane: Int) {
      var own: [Merge] = []
      counter.push(LaneTree.Node(lane: lane), slots[lane - lanes.lowerBound]) { left, right, _ in
        own.append(Merge(left: left, right: right))
        return left
      }
      merges.append(own)
      free += own.map(\.right)
    }
    for lane in lanes {
      if lane - openLanes >= lanes.lowerBound { complete(lane - openLanes) }
      if let slot = free.popLast() {
        slots.append(slot)
      } else {
        slots.append(slotCount)
        slotCount += 1
      }
    }
    for lane in lanes.suffix(openLanes) { complete(lane) }
    self.lanes = lanes
    self.openLanes = openLanes
    self.slotCount = slotCount
    self.slots = slots
    self.merges = merges
    nodes = counter.entries.map { PlacedNode(node: $0.node, slot: $0.value) }
  }

  /// The slot a lane's gradient is computed in.
  ///
  /// Precondition: the lane `openLanes` before it is complete.
  package func slot(of lane: Int) -> Int { slots[lane - lanes.lowerBound] }

  /// What completing a lane adds up, in order.
  ///
  /// Precondition: the lanes before it are complete.
  package func merges(of lane: Int) -> [Merge] { merges[lane - lanes.lowerBound] }
}
