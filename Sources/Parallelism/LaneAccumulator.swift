import Tensors

/// Holds the gradients of a replica's lanes while they are computed, as few partial sums of the
/// lane tree as possible.
///
/// A step: for each lane in order `gradient(for:)`, fill it, `finish(lane:)`; then `nodes`. The
/// buffers are allocated once and reused every step.
package final class LaneAccumulator {
  package let lanes: Range<Int>
  package let parameterCount: Int
  private let storage: FloatBuffer
  private let slotStride: Int
  private let slotCount: Int
  private var freeSlots: [Int]
  private var counter = LaneCounter<Int>()
  private var current: (lane: Int, slot: Int)?

  /// - Parameter lanes: the lanes of this replica, e.g. from `LaneAssignment`.
  package init(lanes: Range<Int>, parameterCount: Int) {
    precondition(!lanes.isEmpty, "a replica has at least one lane")
    self.lanes = lanes
    self.parameterCount = parameterCount
    slotCount = LaneTree.peakNodeCount(lanes)
    slotStride = (parameterCount + 15) & ~15
    storage = FloatBuffer(count: slotCount * slotStride)
    freeSlots = Array((0..<slotCount).reversed())
  }

  /// What the gradients of this replica occupy.
  package var byteCount: Int { slotCount * slotStride * MemoryLayout<Float>.stride }

  /// How many gradients are held at most.
  package var gradientCount: Int { slotCount }

  /// Room for the gradient of a lane, contents undefined; valid until the lane is finished.
  ///
  /// Precondition: lanes come in order; the first lane begins a new step.
  package func gradient(for lane: Int) -> Vector {
    precondition(current == nil, "one lane at a time")
    if lane == lanes.lowerBound {
      counter = LaneCounter()
      freeSlots = Array((0..<slotCount).reversed())
    }
    let next = counter.entries.last?.node.lanes.upperBound ?? lanes.lowerBound
    precondition(lane == next && lanes.contains(lane), "lane \(lane) is not next")
    let taken = freeSlots.removeLast()
    current = (lane, taken)
    return slot(taken)
  }

  /// Adds a lane's gradient to the partial sums that wait for it.
  ///
  /// Order: that of `LaneTree`.
  package func finish(lane: Int) {
    guard let (open, taken) = current, open == lane else {
      preconditionFailure("lane \(lane) was not begun")
    }
    current = nil
    counter.push(LaneTree.Node(lane: lane), taken) { left, right, _ in
      add(slot(left), slot(right), into: slot(left))
      freeSlots.append(right)
      return left
    }
  }

  /// The partial sums of this replica: its canonical nodes from left to right.
  ///
  /// Precondition: every lane is finished. The next step overwrites them.
  package var nodes: [(node: LaneTree.Node, gradient: Vector)] {
    precondition(
      counter.entries.last?.node.lanes.upperBound == lanes.upperBound, "lanes are missing")
    return counter.entries.map { ($0.node, slot($0.value)) }
  }

  private func slot(_ index: Int) -> Vector {
    storage.view[index * slotStride..<index * slotStride + parameterCount]
  }
}
