import Core
import Layers
import Models
import Tensors

/// A model that can be asked for translations of any sentences.
package protocol TranslationModel: AnyObject {
  /// The longest sequence on either side, end-of-sequence included; nil is no limit.
  var maximumLength: Int? { get }

  /// Reads the sources, each ending with end-of-sequence, and is ready to extend translations of
  /// them.
  func session(
    sources: PackedSequences, limits: TranslationSession.Limits
  ) -> any StepwiseModel
}

/// A Transformer with its trained weights: translates and scores.
package final class TrainedTransformer: TranslationModel {
  private var model: Transformer
  private let weights: FloatBuffer
  /// How many positions the model's sinusoids cover.
  private var coveredLength: Int
  private var arena = Arena(capacity: 0)
  private var scratch = Arena(capacity: 0)

  /// - Precondition: `weights` are laid out as `Transformer(shape).layout` says.
  package init(_ shape: TransformerShape, weights: consuming FloatBuffer) {
    coveredLength = 256
    model = Transformer(shape, longestSequence: coveredLength)
    precondition(weights.count == model.layout.count, "the weights do not fit the shape")
    self.weights = weights
  }

  package var vocabularySize: Int { model.shape.vocabularySize }

  package var maximumLength: Int? {
    model.shape.positions == .learned ? model.shape.maximumLength : nil
  }

  package func session(
    sources: PackedSequences, limits: TranslationSession.Limits
  ) -> any StepwiseModel {
    let longest = (0..<sources.count).map(sources.length).max() ?? 0
    cover(max(longest, limits.steps))
    return TranslationSession(model, weights: weights.view, sources: sources, limits: limits)
  }

  /// The summed loss of a micro-batch, without label smoothing and dropout.
  package func loss(_ batch: MicroBatch) -> LossSum {
    let bounds = BatchBounds(batch)
    cover(bounds.longest)
    let capacity = model.arenaCapacity(bounds)
    if arena.capacity < capacity.saved { arena = Arena(capacity: capacity.saved) }
    if scratch.capacity < capacity.scratch { scratch = Arena(capacity: capacity.scratch) }
    return model.evaluate(
      batch, smoothing: 0, Pass(evaluating: weights.view, arena: arena, scratch: scratch))
  }

  /// Makes the sinusoids long enough; parameters and results for shorter sequences stay the same.
  private func cover(_ length: Int) {
    guard length > coveredLength, model.shape.positions == .sinusoidal else { return }
    coveredLength = max(length, 2 * coveredLength)
    model = Transformer(model.shape, longestSequence: coveredLength)
  }
}
