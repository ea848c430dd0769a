import Core
import Messaging

/// Sums of a few numbers a lane (losses, token counts) over all lanes, the same on every rank.
package enum LaneSums {
  /// - Parameter values: for each lane of this rank in order the same number of values.
  ///
  /// Collective. Order: that of `LaneTree`, so that it does not depend on the number of replicas.
  package static func reduce(
    _ values: [[Double]], assignment: LaneAssignment, over communicator: any Communicator
  ) throws(Failure) -> [Double] {
    let width = values.first?.count ?? 0
    precondition(values.allSatisfy { $0.count == width }, "the same values for each lane")
    precondition(
      values.count == assignment.lanes(of: communicator.rank).count, "values for each own lane")
    let all = try communicator.allGather(values.flatMap { $0 }).flatMap { $0 }
    guard all.count == width * assignment.lanes else {
      throw Failure(
        .internal,
        "lane sums on rank \(communicator.rank): expected \(width) values for each of "
          + "\(assignment.lanes) lanes, found \(all.count) in all")
    }
    return (0..<width).map { column in
      LaneTree.sum((0..<assignment.lanes).map { all[$0 * width + column] })
    }
  }
}
