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

  /// The ranges of at most `pieceCount` elements in which `count` of them are moved, ascending.
  package static func pieces(of count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: pieceCount).map { $0..<min($0 + pieceCount, count) }
  }
}

/// Where a save by one process gets its values: asked for every element of every vector once,
/// vector by vector in ascending order.
package protocol StateSource {
  /// Fills `destination` with a range of a vector.
  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure)
}
