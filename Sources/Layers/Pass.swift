import Core
import Tensors

/// What one run of a micro-batch through the model needs besides its input: the weights, memory and
/// where in the run it stands, which decides its dropout masks.
package struct Pass {
  package let weights: Vector
  /// What lives from forward to the end of backward: each micro-batch in flight has its own.
  package let arena: Arena
  /// What a call needs only while it runs; all micro-batches share it. Empty between calls.
  package let scratch: Arena
  /// Probability 0 when evaluating or decoding.
  package let dropout: Dropout
  package let place: Place

  /// Where a micro-batch belongs in the run.
  package struct Place: Sendable {
    package var seed: UInt64
    package var step: Int
    package var lane: Int
    package var microBatch: Int

    package init(seed: UInt64 = 0, step: Int = 0, lane: Int = 0, microBatch: Int = 0) {
      precondition(lane < 1 << 16 && microBatch < 1 << 16, "lane and micro-batch have 16 bits each")
      self.seed = seed
      self.step = step
      self.lane = lane
      self.microBatch = microBatch
    }
  }

  package init(weights: Vector, arena: Arena, scratch: Arena, dropout: Dropout, place: Place) {
    precondition(arena !== scratch, "what is kept and what is scratch lie in different arenas")
    self.weights = weights
    self.arena = arena
    self.scratch = scratch
    self.dropout = dropout
    self.place = place
  }

  /// A pass without dropout.
  package init(evaluating weights: Vector, arena: Arena, scratch: Arena) {
    self.init(
      weights: weights, arena: arena, scratch: scratch, dropout: Dropout(probability: 0),
      place: Place())
  }

  /// The mask stream of one place in the model.
  func maskStream(site: Int) -> RandomStream {
    RandomStream(
      seed: place.seed, purpose: .dropout, site: site, a: place.step,
      b: place.lane << 16 | place.microBatch)
  }

  func weight(_ range: Range<Int>) -> Vector { weights[range] }
}

/// Where a backward pass writes the gradients of the parameters: all of them, or a contiguous part
/// of the layout.
package struct GradientTarget {
  private let vector: Vector
  /// Where in the layout `vector` begins.
  private let origin: Int
  /// Whether to add to what is there (a lane's later micro-batches) or to overwrite it (its first).
  package let accumulates: Bool

  package init(_ vector: Vector, origin: Int = 0, accumulates: Bool) {
    self.vector = vector
    self.origin = origin
    self.accumulates = accumulates
  }

  /// The same place, to be added to.
  package var accumulating: GradientTarget {
    GradientTarget(vector, origin: origin, accumulates: true)
  }

  /// The gradient of a range of the layout; it must lie in the part this target holds.
  package func part(_ range: Range<Int>) -> Vector {
    vector[range.lowerBound - origin..<range.upperBound - origin]
  }
}
