import Core
import Messaging

/// Sums of a few numbers a lane (losses, token counts) over all lanes, the same on every rank.
package enum LaneSums {
  /// - Parameters:
  ///   - values: on the ranks that have losses, for each of their lanes in order the same number of
  ///     values; elsewhere nothing.
  ///   - ranks: those, in replica order.
  ///
  /// Collective. Order: that of `LaneTree`, so that it does not depend on the number of replicas.
  package static func reduce(
    _ values: [[Double]], assignment: LaneAssignment, from ranks: [Int],
    over communicator: any Communicator
  ) throws(Failure) -> [Double] {
    precondition(
      values.allSatisfy { $0.count == values[0].count }, "the same values for each lane")
    let gathered = try communicator.allGather(values.flatMap { $0 })
    let all = ranks.flatMap { gathered[$0] }
    guard !all.isEmpty, all.count.isMultiple(of: assignment.lanes) else {
      throw Failure(
        .internal,
        "lane sums on rank \(communicator.rank): expected as many values for each of "
          + "\(assignment.lanes) lanes, found \(all.count) in all")
    }
    let width = all.count / assignment.lanes
    return (0..<width).map { column in
      LaneTree.sum((0..<assignment.lanes).map { all[$0 * width + column] })
    }
  }
}
