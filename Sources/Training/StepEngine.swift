import Core
import Layers
import Messaging
import Models
import Optimizers
import Parallelism
import Tensors

/// The numeric part of a training step on one rank: lanes forward and backward, gradient sum,
/// update.
///
/// The result is a function of weights, moments, step number, settings and micro-batches; how the
/// lanes are spread over ranks changes no bit of it.
package final class StepEngine {
  /// What a step depends on besides its data and the model.
  package struct Settings: Sendable {
    package var seed: UInt64
    package var lanes: Int
    package var microBatchesPerLane: Int
    package var dropout: Float
    package var smoothing: Float
    package var adam: Adam
    package var clipNorm: Double

    package init(_ configuration: RunConfiguration) {
      seed = configuration.seed
      lanes = configuration.batch.lanes
      microBatchesPerLane = configuration.batch.microBatches
      dropout = Float(configuration.model.dropout)
      smoothing = Float(configuration.train.labelSmoothing)
      let optimizer = configuration.optimizer
      adam = Adam(
        beta1: optimizer.beta1, beta2: optimizer.beta2, epsilon: optimizer.epsilon,
        weightDecay: optimizer.kind == .adamw ? optimizer.weightDecay : 0)
      clipNorm = configuration.optimizer.clipNorm
    }
  }

  /// What a step did; the same on every rank.
  package struct Outcome: Equatable, Sendable {
    /// Mean label-smoothed cross entropy over the step's target tokens, in nats.
    package let loss: Double
    /// Mean negative log-likelihood over the step's target tokens, in nats.
    package let crossEntropy: Double
    /// Of the whole gradient before clipping.
    package let gradientNorm: Double
    /// False when the gradient was not finite; nothing has changed then.
    package let isUpdated: Bool
  }

  /// Where the seconds of a step went on this rank.
  package struct Phases: Equatable, Sendable {
    /// Forward and backward of the own lanes.
    package var lanes = 0.0
    /// The gradient sum over ranks, waiting for slower ones included.
    package var exchange = 0.0
    /// Norm, optimizer and gathering of the weights.
    package var update = 0.0
  }

  package let model: Transformer
  /// Of the last step.
  package private(set) var phases = Phases()
  package let optimizer: ShardedOptimizer
  private let settings: Settings
  private let communicator: any Communicator
  private let assignment: LaneAssignment
  private let weightStorage: FloatBuffer
  private let accumulator: LaneAccumulator
  private let reducer: GradientReducer
  private let arena: Arena
  private let scratch: Arena
  private let tokenGradients: TokenGradientStore

  /// Throws: `Failure` (.configuration) when there are more ranks than lanes.
  package init(
    _ model: Transformer, bounds: BatchBounds, settings: Settings,
    communicator: any Communicator
  ) throws(Failure) {
    let assignment = try LaneAssignment(lanes: settings.lanes, replicas: communicator.size)
    let ownership = OwnershipMap(parameterCount: model.layout.count, ranks: communicator.size)
    self.model = model
    self.settings = settings
    self.communicator = communicator
    self.assignment = assignment
    weightStorage = FloatBuffer(count: model.layout.count)
    accumulator = LaneAccumulator(
      lanes: assignment.lanes(of: communicator.rank), parameterCount: model.layout.count)
    reducer = GradientReducer(
      communicator: communicator, assignment: assignment, ownership: ownership)
    optimizer = ShardedOptimizer(
      communicator: communicator, ownership: ownership, adam: settings.adam,
      clipNorm: settings.clipNorm)
    let capacity = model.arenaCapacity(bounds)
    arena = Arena(capacity: capacity.saved)
    scratch = Arena(capacity: capacity.scratch)
    tokenGradients = TokenGradientStore(
      model, copies: settings.microBatchesPerLane - 1, bounds: bounds)
  }

  /// All parameters, in layout order.
  package var weights: Vector { weightStorage.view }

  /// Which of a step's micro-batches this rank computes.
  package var ownMicroBatches: Range<Int> {
    let lanes = accumulator.lanes
    let each = settings.microBatchesPerLane
    return lanes.lowerBound * each..<lanes.upperBound * each
  }

  /// What this rank keeps in memory, in bytes, by purpose.
  package var memory: [(name: String, byteCount: Int)] {
    let activations = (arena.capacity + scratch.capacity) * 4 + tokenGradients.byteCount
    return [
      ("weights", weightStorage.count * 4), ("gradients", accumulator.byteCount),
      ("moments", optimizer.byteCount), ("activations", activations),
      ("exchange", reducer.byteCount),
    ]
  }

  /// One step.
  ///
  /// Collective. Writes: weights and moments on every rank, unless the gradient is not finite.
  /// - Parameters:
  ///   - number: of the step, from 1; decides dropout masks and bias correction.
  ///   - microBatches: those of `ownMicroBatches`, in order.
  ///   - targetTokens: of the whole step, over all ranks.
  package func step(
    _ number: Int, microBatches: [MicroBatch], targetTokens: Int, learningRate: Double
  ) throws(Failure) -> Outcome {
    let watch = Stopwatch()
    let laneLosses = computeLanes(number, microBatches, targetTokens)
    phases.lanes = watch.seconds
    let gradient = try reducer.reduce(accumulator)
    phases.exchange = watch.seconds - phases.lanes
    let update = try optimizer.step(
      weights: weights, gradient: gradient, step: number, learningRate: learningRate)
    phases.update = watch.seconds - phases.exchange - phases.lanes
    let sums = try LaneSums.reduce(
      laneLosses.map { [$0.smoothed, $0.negativeLogLikelihood] }, assignment: assignment,
      over: communicator)
    return Outcome(
      loss: sums[0] / Double(targetTokens), crossEntropy: sums[1] / Double(targetTokens),
      gradientNorm: update.gradientNorm, isUpdated: update.isUpdated)
  }

  /// The loss of a micro-batch under the current weights, without dropout or smoothing.
  package func evaluate(_ batch: MicroBatch) -> LossSum {
    model.evaluate(batch, smoothing: 0, Pass(evaluating: weights, arena: arena, scratch: scratch))
  }

  /// Forward and backward of every own lane; leaves their gradients in the accumulator.
  private func computeLanes(
    _ number: Int, _ microBatches: [MicroBatch], _ targetTokens: Int
  ) -> [LossSum] {
    precondition(microBatches.count == ownMicroBatches.count, "the micro-batches of the own lanes")
    let dropout = Dropout(probability: settings.dropout)
    let objective = ModelChunk.Objective(
      smoothing: settings.smoothing, gradientScale: 1 / Float(targetTokens))
    let each = settings.microBatchesPerLane
    return accumulator.lanes.map { lane in
      let first = (lane - accumulator.lanes.lowerBound) * each
      let loss = model.trainLane(
        Array(microBatches[first..<first + each]), objective,
        GradientTarget(accumulator.gradient(for: lane), accumulates: false), tokenGradients
      ) { index in
        let place = Pass.Place(seed: settings.seed, step: number, lane: lane, microBatch: index)
        return Pass(
          weights: weights, arena: arena, scratch: scratch, dropout: dropout, place: place)
      }
      accumulator.finish(lane: lane)
      return loss
    }
  }
}
