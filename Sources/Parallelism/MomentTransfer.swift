import Core
import Messaging
import Tensors

/// Saving and restoring moments as one vector over all parameters, whoever owns what.
extension ShardedOptimizer {
  /// Copies a range of a moment from its owners to rank 0.
  ///
  /// Collective: every rank asks for the same ranges in the same order.
  /// - Parameter target: on rank 0 as long as the range; ignored elsewhere.
  package func readMoment(
    _ moment: Moment, _ range: Range<Int>, into target: Vector?
  ) throws(Failure) {
    precondition(
      0 <= range.lowerBound && range.upperBound <= ownership.parameterCount,
      "the range lies outside of the parameters")
    var transfers: [Transfer] = []
    let own = ownedSpan.clamped(to: range)
    if communicator.rank == 0 {
      guard let target, target.count == range.count else {
        preconditionFailure("rank 0 has room for the range")
      }
      for (owner, span) in ownership.spans.enumerated() {
        let part = span.clamped(to: range)
        guard !part.isEmpty else { continue }
        let place = target[
          part.lowerBound - range.lowerBound..<part.upperBound - range.lowerBound]
        if owner == 0 {
          place.copy(from: owned(moment)[local(part)])
        } else {
          transfers.append(.receive(into: place, from: owner))
        }
      }
    } else if !own.isEmpty {
      transfers.append(.send(owned(moment)[local(own)], to: 0))
    }
    try communicator.exchange(transfers)
  }

  /// Fills the own part of a moment; resuming works with any number of ranks.
  ///
  /// - Parameter read: writes the moment of the given parameters into the given floats.
  /// Throws: what `read` throws; the moment is then undefined.
  package func setMoment(
    _ moment: Moment, _ read: (Range<Int>, Vector) throws(Failure) -> Void
  ) throws(Failure) {
    guard !ownedSpan.isEmpty else { return }
    try read(ownedSpan, owned(moment))
  }

  private func local(_ range: Range<Int>) -> Range<Int> {
    range.lowerBound - ownedSpan.lowerBound..<range.upperBound - ownedSpan.lowerBound
  }
}
