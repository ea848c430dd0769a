import Core

/// Which replica computes which lanes of a step.
///
/// A replica owns a contiguous range; ranges are as equal as possible, larger ones first (8 lanes
/// over 3 replicas: 3, 3, 2).
package struct LaneAssignment: Sendable, Equatable {
  package let lanes: Int
  package let replicas: Int

  /// Throws: `Failure` (.configuration) when lanes are no power of two or too few.
  package init(lanes: Int, replicas: Int) throws(Failure) {
    guard lanes > 0, lanes & (lanes - 1) == 0 else {
      throw Failure(
        .configuration, "batch.lanes: expected a power of two, found \(lanes); use 8, for example")
    }
    guard replicas > 0 else {
      throw Failure(
        .configuration, "parallel.replicas: expected 1 or more, found \(replicas)")
    }
    guard replicas <= lanes else {
      throw Failure(
        .configuration,
        "batch.lanes: \(replicas) replicas need at least as many lanes, found \(lanes); start at "
          + "most \(lanes) replicas (more lanes would change the result)")
    }
    self.lanes = lanes
    self.replicas = replicas
  }

  /// The lanes of a replica.
  package func lanes(of replica: Int) -> Range<Int> {
    precondition(0..<replicas ~= replica, "replica \(replica) does not exist")
    return equalShare(of: lanes, part: replica, parts: replicas)
  }
}

/// Part `part` of `count` things cut into contiguous parts as equal as possible, larger ones first.
func equalShare(of count: Int, part: Int, parts: Int) -> Range<Int> {
  let share = count / parts
  let larger = count % parts
  let start = part * share + min(part, larger)
  return start..<start + share + (part < larger ? 1 : 0)
}

/// The same of the things in a range.
func equalShare(of range: Range<Int>, part: Int, parts: Int) -> Range<Int> {
  let share = equalShare(of: range.count, part: part, parts: parts)
  return range.lowerBound + share.lowerBound..<range.lowerBound + share.upperBound
}
