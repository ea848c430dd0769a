import Core
import Tensors

/// A run of one vector that one rank alone is responsible for.
package struct OwnedPiece: Sendable {
  package let vector: StateVector
  package let range: Range<Int>
  /// As long as the range.
  package let values: Vector

  package init(_ vector: StateVector, _ range: Range<Int>, _ values: Vector) {
    precondition(range.count == values.count, "a piece has one value an element")
    self.vector = vector
    self.range = range
    self.values = values
  }
}

/// A copy of a rank's pieces as they were at one moment; its memory is kept from save to save.
final class Snapshot: @unchecked Sendable {
  // Unchecked: the buffer is written between saves only, when nobody reads it.
  private var buffer = FloatBuffer(count: 0)

  var byteCount: Int { buffer.count * MemoryLayout<Float>.size }

  /// Copies the pieces; those of the result live until the next copy.
  func copy(_ pieces: [OwnedPiece]) -> [OwnedPiece] {
    let count = pieces.reduce(0) { $0 + $1.range.count }
    if buffer.count < count { buffer = FloatBuffer(count: count) }
    var start = 0
    return pieces.map { piece in
      let place = buffer.view[start..<start + piece.range.count]
      place.copy(from: piece.values)
      start += piece.range.count
      return OwnedPiece(piece.vector, piece.range, place)
    }
  }
}
