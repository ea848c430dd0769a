import Tensors

/// How the gradients of one rank lie in its memory: for each contiguous part of the parameters it
/// holds, a slot for every partial sum of its lanes.
///
/// It follows from lanes and stages alone, so every rank of a node reads its neighbours' gradients
/// where they lie.
package struct GradientLayout: Sendable, Equatable {
  /// A contiguous range of parameters whose lanes are completed together.
  package struct Part: Sendable, Equatable {
    package let parameters: Range<Int>
    package let plan: LanePlan
    let offset: Int
    var stride: Int { (parameters.count + 15) & ~15 }

    func slot(_ slot: Int, in memory: Vector) -> Vector {
      let start = offset + slot * stride
      return memory[start..<start + parameters.count]
    }
  }

  package let parts: [Part]
  /// Floats in all.
  package let count: Int

  /// - Parameters:
  ///   - lanes: of the replica.
  ///   - parts: ranges of parameters, and how many lanes of each are open at once.
  package init(lanes: Range<Int>, parts: [(parameters: Range<Int>, openLanes: Int)]) {
    var count = 0
    self.parts = parts.map { parameters, openLanes in
      let part = Part(
        parameters: parameters, plan: LanePlan(lanes: lanes, openLanes: openLanes), offset: count)
      count += part.plan.slotCount * part.stride
      return part
    }
    self.count = count
  }

  /// Room for a lane's gradient of one part, contents undefined; it has the part's extent.
  package func gradient(of lane: Int, part: Int, in memory: Vector) -> GradientPart {
    let part = parts[part]
    return GradientPart(
      vector: part.slot(part.plan.slot(of: lane), in: memory), origin: part.parameters.lowerBound)
  }

  /// Adds the gradient of a complete lane to the partial sums that wait for it, in a range of
  /// parameters.
  ///
  /// Order: that of `LaneTree`.
  package func complete(_ lane: Int, _ range: Range<Int>, in memory: Vector) {
    let part = part(holding: range)
    let local = range.lowerBound - part.parameters.lowerBound
    for merge in part.plan.merges(of: lane) {
      let left = part.slot(merge.left, in: memory)[local..<local + range.count]
      let right = part.slot(merge.right, in: memory)[local..<local + range.count]
      add(left, right, into: left)
    }
  }

  /// The partial sums of all lanes in a range of parameters, left to right.
  package func nodes(
    _ range: Range<Int>, in memory: Vector
  ) -> [(node: LaneTree.Node, gradient: Vector)] {
    let part = part(holding: range)
    let local = range.lowerBound - part.parameters.lowerBound
    return part.plan.nodes.map { placed in
      (placed.node, part.slot(placed.slot, in: memory)[local..<local + range.count])
    }
  }

  private func part(holding range: Range<Int>) -> Part {
    for part in parts
    where part.parameters.lowerBound <= range.lowerBound
      && range.upperBound <= part.parameters.upperBound
    {
      return part
    }
    preconditionFailure("no part of the gradient holds parameters \(range)")
  }
}

/// The gradient of a contiguous range of parameters that begins at parameter `origin`.
package struct GradientPart {
  package let vector: Vector
  package let origin: Int
}
