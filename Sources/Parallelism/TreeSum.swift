import Tensors

/// Sums gradients of neighbouring lanes in the order of the lane tree, reading each of them once.
///
/// A program for a list of nodes is made once and run on pieces that fit in the first-level cache.
package struct TreeSum: Sendable {
  private enum Place: Sendable, Equatable {
    case source(Int)
    case scratch(Int)
    case target(Int)
  }

  private struct Addition: Sendable {
    let left: Place
    let right: Place
    var into: Place
  }

  /// A canonical node of the union of the sources.
  package struct Result: Sendable, Equatable {
    package let node: LaneTree.Node
    /// The source that is this node as it is, so that nothing has to be added.
    package let source: Int?
  }

  /// Left to right.
  package let results: [Result]
  package let sourceCount: Int
  private let additions: [Addition]
  private let scratchCount: Int

  /// - Parameter sources: nodes of contiguous lanes from left to right.
  package init(sources: [LaneTree.Node]) {
    var counter = LaneCounter<Place>()
    var additions: [Addition] = []
    var free: [Int] = []
    var scratchCount = 0
    for (index, node) in sources.enumerated() {
      counter.push(node, .source(index)) { left, right, _ in
        let into = free.popLast() ?? scratchCount
        scratchCount = max(scratchCount, into + 1)
        additions.append(Addition(left: left, right: right, into: .scratch(into)))
        for case .scratch(let slot) in [left, right] { free.append(slot) }
        return .scratch(into)
      }
    }
    results = counter.entries.map { entry in
      if case .source(let source) = entry.value {
        Result(node: entry.node, source: source)
      } else {
        Result(node: entry.node, source: nil)
      }
    }
    // What nobody adds further goes to its target instead.
    for (index, entry) in counter.entries.enumerated() {
      if let last = additions.lastIndex(where: { $0.into == entry.value }) {
        additions[last].into = .target(index)
      }
    }
    sourceCount = sources.count
    self.additions = additions
    self.scratchCount = scratchCount
  }

  /// Floats of scratch memory a run needs.
  package var scratchSize: Int { scratchCount * Self.pieceCount }

  /// Writes: the target of every result that is not a source; a target may be one of its sources.
  /// - Parameter targets: one a result.
  package func run(_ sources: [Vector], into targets: [Vector], scratch: Vector) {
    forEachAddition(sources, targets, scratch) { add($0, $1, into: $2) }
  }

  /// The same for the one root of all lanes; its squares join a sum while it is in the cache.
  package func run(
    _ sources: [Vector], into root: Vector, scratch: Vector, squares: inout SquareSum
  ) {
    precondition(results.count == 1, "the sources hold all lanes")
    guard results[0].source == nil else { return squares.add(root) }
    var sum = squares
    forEachAddition(sources, [root], scratch) { left, right, target in
      if target.base >= root.base, target.base < root.base + root.count {
        sum.add(left, plus: right, into: target)
      } else {
        add(left, right, into: target)
      }
    }
    squares = sum
  }

  private func forEachAddition(
    _ sources: [Vector], _ targets: [Vector], _ scratch: Vector,
    _ body: (_ left: Vector, _ right: Vector, _ target: Vector) -> Void
  ) {
    precondition(
      sources.count == sourceCount && targets.count == results.count
        && scratch.count >= scratchSize, "the program is for other sources")
    guard !additions.isEmpty else { return }
    // Without partial sums to keep there is no reason to stop on the way.
    let length = scratchCount == 0 ? sources[0].count : Self.pieceCount
    for start in stride(from: 0, to: sources[0].count, by: max(1, length)) {
      let piece = start..<min(sources[0].count, start + length)
      func vector(_ place: Place) -> Vector {
        switch place {
        case .source(let index): sources[index][piece]
        case .target(let index): targets[index][piece]
        case .scratch(let index):
          scratch[index * Self.pieceCount..<index * Self.pieceCount + piece.count]
        }
      }
      for addition in additions {
        body(vector(addition.left), vector(addition.right), vector(addition.into))
      }
    }
  }

  /// Small enough that the partial sums of many lanes stay in the first-level cache.
  private static let pieceCount = 2_048
}
