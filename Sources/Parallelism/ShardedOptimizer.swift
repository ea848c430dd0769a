import Core
import Messaging
import Optimizers
import Tensors

/// Adam whose moments are spread over all ranks: each holds and updates the spans it owns, and the
/// new weights go to every node that computes with them.
package final class ShardedOptimizer {
  /// What a step did; the same on every rank.
  package struct Outcome: Sendable, Equatable {
    /// The norm of the whole gradient before clipping.
    package let gradientNorm: Double
    /// False when the gradient was not finite or too large; weights and moments are then as before.
    package let isUpdated: Bool
  }

  package enum Moment: Sendable, CaseIterable {
    case first
    case second
  }

  /// A span of parameters this rank owns and where its moments lie.
  private struct Owned {
    let bucket: OwnershipMap.Bucket
    let span: Range<Int>
    let offset: Int
  }

  package let adam: Adam
  package let clipNorm: Double
  private let communicator: any Communicator
  private let spread: WeightSpread
  private let owned: [Owned]
  /// The owner of each span in the order of the parameters.
  private let owners: [(rank: Int, span: Range<Int>)]
  private let firstMoment: FloatBuffer
  private let secondMoment: FloatBuffer

  /// No element exceeds the norm, so below this each square is at most 2^126, far from where the
  /// kernel's Float ends: an infinite second moment would hold its weight still for good.
  private static let normLimit = 0x1p63

  /// - Parameters:
  ///   - usersOfSection: the stages that compute with the weights of a section.
  ///   - clipNorm: the largest norm of a gradient; 0 switches clipping off.
  package init(
    communicator: any Communicator, ownership: OwnershipMap, usersOfSection: [[Int]], adam: Adam,
    clipNorm: Double = 0
  ) {
    precondition(clipNorm >= 0, "a norm is not negative")
    self.communicator = communicator
    self.adam = adam
    self.clipNorm = clipNorm
    spread = WeightSpread(
      communicator: communicator, ownership: ownership, usersOfSection: usersOfSection)
    owners = ownership.spansInOrder
    var count = 0
    var owned: [Owned] = []
    for bucket in ownership.buckets {
      guard let replica = ownership.ranksOfStage[bucket.stage].firstIndex(of: communicator.rank)
      else { continue }
      let span = bucket.spans[replica]
      guard !span.isEmpty else { continue }
      owned.append(Owned(bucket: bucket, span: span, offset: count))
      count += span.count
    }
    self.owned = owned
    firstMoment = FloatBuffer(count: count)
    secondMoment = FloatBuffer(count: count)
  }

  /// The spans this rank updates, in the order of the parameters.
  package var ownedSpans: [Range<Int>] { owned.map(\.span) }

  /// What the moments of this rank occupy.
  package var byteCount: Int {
    (firstMoment.count + secondMoment.count) * MemoryLayout<Float>.stride
  }

  /// Updates the weights everywhere from the sums the owners hold.
  ///
  /// The update waits for the norm of the whole gradient: a value that is not finite anywhere, or
  /// whose square might not be, must stop it on every rank, before a single weight has changed.
  ///
  /// Collective. Writes: all weights and the own moments, or nothing if any gradient is not finite
  /// or the norm after clipping is `normLimit` or more.
  /// - Parameters:
  ///   - gradient: the sum of all lanes over one of the own spans.
  ///   - chunkSums: its sums of squares by chunk, over all own spans in order.
  ///   - step: counted from 1.
  package func step(
    weights: Vector, gradient: (Range<Int>) -> Vector, chunkSums: [Double], step: Int,
    learningRate: Double
  ) throws(Failure) -> Outcome {
    let norm = GradientClipping.norm(chunkSums: try sumsInOrder(chunkSums))
    let scale = GradientClipping.scale(norm: norm, limit: clipNorm)
    guard norm.isFinite, norm * scale < Self.normLimit else {
      return Outcome(gradientNorm: norm, isUpdated: false)
    }
    try spread.begin(weights)
    for part in owned {
      let moments = part.offset..<part.offset + part.span.count
      adam.update(
        weights: weights[part.span], gradient: gradient(part.span),
        firstMoment: firstMoment.view[moments], secondMoment: secondMoment.view[moments],
        step: step, learningRate: learningRate, gradientScale: scale)
      try spread.send(part.span, of: part.bucket, weights)
    }
    FaultPoint.update.reached(step: step)
    try spread.finish()
    return Outcome(gradientNorm: norm, isUpdated: true)
  }

  /// A moment of one of the owned spans.
  package func moment(_ moment: Moment, _ span: Range<Int>) -> Vector {
    guard let part = owned.first(where: { $0.span == span }) else {
      preconditionFailure("rank \(communicator.rank) does not own parameters \(span)")
    }
    let range = part.offset..<part.offset + span.count
    switch moment {
    case .first: return firstMoment.view[range]
    case .second: return secondMoment.view[range]
    }
  }

  /// The chunk sums of all ranks in the order of the parameters.
  private func sumsInOrder(_ own: [Double]) throws(Failure) -> [Double] {
    let all = try communicator.allGather(own)
    var next = [Int](repeating: 0, count: all.count)
    var result: [Double] = []
    for (rank, span) in owners {
      let chunks = (span.count + reductionChunkCount - 1) / reductionChunkCount
      guard next[rank] + chunks <= all[rank].count else {
        throw Failure(
          .internal,
          "gradient norm on rank \(communicator.rank): rank \(rank) gave \(all[rank].count) sums,"
            + " too few for its parameters")
      }
      result += all[rank][next[rank]..<next[rank] + chunks]
      next[rank] += chunks
    }
    return result
  }
}
