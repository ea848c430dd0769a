/// One allocation that hands out scratch space in stack order; nothing is freed before `reset`.
///
/// Steady steps allocate no numeric memory: the largest micro-batch decides the capacity once.
package final class Arena {
  private let buffer: FloatBuffer
  private var used = 0
  /// The most that was ever in use, in elements.
  package private(set) var peak = 0

  package init(capacity: Int) { buffer = FloatBuffer(count: capacity) }

  package var capacity: Int { buffer.count }

  /// What a vector of `count` floats takes: capacities are sums of these.
  package static func room(_ count: Int) -> Int { (count + 15) & ~15 }

  /// Room for `count` floats, 64-byte aligned, contents undefined.
  package func vector(_ count: Int) -> Vector {
    let start = used
    used += Arena.room(count)
    precondition(used <= buffer.count, "the arena is planned too small: \(used) > \(buffer.count)")
    peak = max(peak, used)
    return buffer.view[start..<start + count]
  }

  package func matrix(_ rows: Int, _ columns: Int) -> Matrix {
    vector(rows * columns).matrix(rows: rows, columns: columns)
  }

  /// A position to return to with `reset(to:)`.
  package var mark: Int { used }

  /// Gives back everything handed out since `mark` was read (everything, by default).
  package func reset(to mark: Int = 0) { used = mark }
}
