import Core
import Datasets
import Models
import Optimizers

/// What a run reads and what follows from it: the dataset, its micro-batches, the model's shape.
package struct RunInputs {
  package let dataset: Dataset
  package let loader: Loader
  package let validation: FixedPlan
  package let model: Transformer
  /// What the largest micro-batch of training or validation takes.
  package let bounds: BatchBounds

  /// Throws: as `Loader.init`; `Failure` (.configuration) when learned positions do not cover the
  /// data.
  package init(_ configuration: RunConfiguration, _ dataset: Dataset) throws(Failure) {
    self.dataset = dataset
    let microBatches = configuration.batch.lanes * configuration.batch.microBatches
    let budget = configuration.batch.tokens / microBatches
    loader = try Loader(
      dataset,
      options: Loader.Options(
        seed: configuration.seed, tokenBudget: budget,
        groupsByLength: configuration.batch.groupByLength,
        maximumLength: configuration.data.maximumLength, microBatchesPerStep: microBatches))
    validation = FixedPlan(
      dataset, .validation, tokenBudget: budget,
      maximumLength: configuration.data.maximumLength)
    let limits = loader.limits.union(validation.limits)
    bounds = BatchBounds(limits)
    let shape = configuration.shape(vocabularySize: dataset.vocabularySize)
    try shape.requirePositions(for: bounds.longest, "the longest sequence of \(dataset.path)")
    model = Transformer(shape, longestSequence: bounds.longest)
    try model.requireCountable()
  }
}

extension TransformerShape {
  /// Throws: `Failure` (.configuration) when learned positions do not reach so far.
  func requirePositions(for longest: Int, _ what: String) throws(Failure) {
    guard positions == .sinusoidal || longest <= maximumLength else {
      throw Failure(
        .configuration,
        "model.maximum_positions: expected at least \(longest), \(what), found \(maximumLength);"
          + " raise it, or take shorter sequences")
    }
  }
}

extension Transformer {
  /// A hundred times what a checkpoint's manifest can describe: what plans each bucket of more
  /// takes memory without end.
  private static let parameterLimit = 1 << 40

  /// Throws: `Failure` (.configuration) for more parameters than any machine holds.
  func requireCountable() throws(Failure) {
    guard layout.count <= Self.parameterLimit else {
      throw Failure(
        .configuration,
        "model: has \(layout.count) parameters, more than the \(Self.parameterLimit) that can"
          + " be trained; lower its dimensions or layers")
    }
  }
}

extension BatchBounds {
  package init(_ limits: MicroBatchLimits) {
    self.init()
    sourceTokens = limits.sourceTokens
    targetTokens = limits.targetTokens
    sourcePairs = limits.sourceSquares
    targetPairs = limits.targetSquares
    crossPairs = limits.crossProducts
    longest = max(limits.longestSource, limits.longestTarget)
  }
}

extension RunConfiguration {
  /// The learning-rate schedule the configuration describes.
  package var learningRateSchedule: LearningRateSchedule {
    let warmup = schedule.warmupSteps
    let peak = schedule.peak ?? 0
    return switch schedule.kind {
    case .noam: .noam(dimension: model.dimension, warmupSteps: warmup, factor: schedule.factor)
    case .inverseSqrt: .inverseSquareRoot(peak: peak, warmupSteps: warmup)
    case .linear:
      .linear(peak: peak, warmupSteps: warmup, totalSteps: train.steps, final: schedule.final)
    case .cosine:
      .cosine(peak: peak, warmupSteps: warmup, totalSteps: train.steps, final: schedule.final)
    case .constant: .constant(peak: peak, warmupSteps: warmup)
    }
  }
}
