import Core
import Tensors

/// The vectors of training state a checkpoint holds, each in the order of the `ParameterLayout`.
package enum StateVector: String, CaseIterable, Hashable, Sendable {
  case parameters
  case firstMoment
  case secondMoment

  /// Where its tensors lie in the file.
  var group: String {
    switch self {
    case .parameters: "/parameters"
    case .firstMoment: "/optimizer/first_moment"
    case .secondMoment: "/optimizer/second_moment"
    }
  }

  /// Elements that move at once, between ranks and to the disk: 4 MiB.
  package static let pieceCount = 1 << 20

  /// The fixed sequence of ranges in which a vector of `count` elements is pulled from a `StateSource`.
  ///
  /// Order: ascending, all of the size `pieceCount` but the last. A save pulls the vectors in the
  /// order of `allCases`, each by these pieces, so every rank knows what is asked of it and when.
  package static func pieces(of count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: pieceCount).map { $0..<min($0 + pieceCount, count) }
  }
}

/// Where a save gets its values.
package protocol StateSource {
  /// Fills `destination` with a range of a vector.
  ///
  /// Collective: under MPI the pull of a piece may be a receive from its owner. A save pulls every piece
  /// of `StateVector.pieces(of:)` exactly once and in order, also after the disk has failed; only a
  /// `read` that throws ends the sequence early.
  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure)
}
