/// The fixed balanced binary tree over lane numbers in whose order everything is summed.
package enum LaneTree {
  /// The subtree over lanes `index << height ..< (index + 1) << height`.
  package struct Node: Hashable, Sendable {
    package let height: Int
    package let index: Int

    package init(height: Int, index: Int) {
      self.height = height
      self.index = index
    }

    package init(lane: Int) { self.init(height: 0, index: lane) }

    package var lanes: Range<Int> { index << height..<(index + 1) << height }

    package var parent: Node { Node(height: height + 1, index: index >> 1) }

    /// Whether this node and the next are the two halves of one parent.
    package func isLeftSibling(of next: Node) -> Bool {
      height == next.height && index & 1 == 0 && next.index == index + 1
    }
  }

  /// The sum of one value a lane, all lanes in order.
  package static func sum(_ values: [Double]) -> Double {
    var counter = LaneCounter<Double>()
    for (lane, value) in values.enumerated() {
      counter.push(Node(lane: lane), value) { left, right, _ in left + right }
    }
    precondition(counter.entries.count == 1, "the number of lanes is a power of two")
    return counter.entries[0].value
  }
}

/// Partial sums that merge like the digits of a binary counter: a node and its left sibling become
/// their parent as soon as both are there.
///
/// Order: left + right at every node, so the sum is that of the tree however the lanes were grouped
/// before they are pushed, as long as they come from left to right.
struct LaneCounter<Value> {
  private(set) var entries: [(node: LaneTree.Node, value: Value)] = []

  /// - Parameter merge: gives the parent's value from its left and right child's.
  mutating func push(
    _ node: LaneTree.Node, _ value: Value,
    merge: (_ left: Value, _ right: Value, _ parent: LaneTree.Node) -> Value
  ) {
    precondition(
      entries.last.map { $0.node.lanes.upperBound == node.lanes.lowerBound } ?? true,
      "lanes are summed from left to right without gaps")
    var current = (node: node, value: value)
    while let left = entries.last, left.node.isLeftSibling(of: current.node) {
      entries.removeLast()
      let parent = left.node.parent
      current = (parent, merge(left.value, current.value, parent))
    }
    entries.append(current)
  }
}
