import Core
import Tensors

/// What one run of a micro-batch through the model needs besides its input: the weights, scratch
/// memory and where in the run it stands, which decides its dropout masks.
package struct Pass {
  package let weights: Vector
  package let arena: Arena
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

  package init(weights: Vector, arena: Arena, dropout: Dropout, place: Place) {
    self.weights = weights
    self.arena = arena
    self.dropout = dropout
    self.place = place
  }

  /// A pass without dropout.
  package init(evaluating weights: Vector, arena: Arena) {
    self.init(weights: weights, arena: arena, dropout: Dropout(probability: 0), place: Place())
  }

  /// The mask stream of one place in the model.
  func maskStream(site: Int) -> RandomStream {
    RandomStream(
      seed: place.seed, purpose: .dropout, site: site, a: place.step,
      b: place.lane << 16 | place.microBatch)
  }

  func weight(_ range: Range<Int>) -> Vector { weights[range] }
}

/// Where a backward pass writes the gradients of the parameters.
package struct GradientTarget {
  package let vector: Vector
  /// Whether to add to what is there (a lane's later micro-batches) or to overwrite it (its first).
  package let accumulates: Bool

  package init(_ vector: Vector, accumulates: Bool) {
    self.vector = vector
    self.accumulates = accumulates
  }

  func part(_ range: Range<Int>) -> Vector { vector[range] }
}
