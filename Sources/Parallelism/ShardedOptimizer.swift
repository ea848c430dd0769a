import Core
import Messaging
import Optimizers
import Tensors

/// Adam whose moments are spread over the ranks: each holds and updates the span it owns.
package final class ShardedOptimizer {
  /// What a step did; the same on every rank.
  package struct Outcome: Sendable, Equatable {
    /// The norm of the whole gradient before clipping.
    package let gradientNorm: Double
    /// What the gradient was multiplied by; 1 without clipping.
    package let clipScale: Double
    /// False when the gradient was not finite; weights and moments are then as before.
    package let isUpdated: Bool
  }

  package enum Moment: Sendable, CaseIterable {
    case first
    case second
  }

  package let adam: Adam
  package let clipNorm: Double
  package let ownership: OwnershipMap
  let communicator: any Communicator
  private let firstMoment: FloatBuffer
  private let secondMoment: FloatBuffer

  /// - Parameter clipNorm: the largest norm of a gradient; 0 switches clipping off.
  package init(
    communicator: any Communicator, ownership: OwnershipMap, adam: Adam, clipNorm: Double = 0
  ) {
    precondition(ownership.spans.count == communicator.size, "one owned span for each rank")
    precondition(clipNorm >= 0, "a norm is not negative")
    self.communicator = communicator
    self.ownership = ownership
    self.adam = adam
    self.clipNorm = clipNorm
    let count = ownership.spans[communicator.rank].count
    firstMoment = FloatBuffer(count: count)
    secondMoment = FloatBuffer(count: count)
  }

  /// The parameters this rank updates.
  package var ownedSpan: Range<Int> { ownership.spans[communicator.rank] }

  /// What the moments of this rank occupy.
  package var byteCount: Int {
    (firstMoment.count + secondMoment.count) * MemoryLayout<Float>.stride
  }

  /// Updates the weights on every rank from the gradient each owner holds.
  ///
  /// Collective. Shapes: weights all parameters, gradient the owned span.
  /// Writes: all weights and the own moments, or nothing if any gradient is not finite.
  /// - Parameter step: counted from 1.
  package func step(
    weights: Vector, gradient: Vector, step: Int, learningRate: Double
  ) throws(Failure) -> Outcome {
    let span = ownedSpan
    precondition(weights.count == ownership.parameterCount, "weights are those of the whole model")
    precondition(gradient.count == span.count, "the gradient is that of the owned span")
    // The ranks' chunk sums one after another are those of all chunks: spans follow each other.
    let chunkSums = try communicator.allGather(chunkSumsOfSquares(gradient)).flatMap { $0 }
    let norm = GradientClipping.norm(chunkSums: chunkSums)
    guard norm.isFinite else {
      return Outcome(gradientNorm: norm, clipScale: 1, isUpdated: false)
    }
    let scale = GradientClipping.scale(norm: norm, limit: clipNorm)
    adam.update(
      weights: weights[span], gradient: gradient, firstMoment: firstMoment.view,
      secondMoment: secondMoment.view, step: step, learningRate: learningRate,
      gradientScale: scale)
    try communicator.allGatherInPlace(weights, spans: ownership.spans)
    return Outcome(gradientNorm: norm, clipScale: scale, isUpdated: true)
  }

  /// The moments of the owned span.
  package func owned(_ moment: Moment) -> Vector {
    switch moment {
    case .first: firstMoment.view
    case .second: secondMoment.view
    }
  }
}
