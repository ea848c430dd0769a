import Checkpoints
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
  package let ownership: OwnershipMap
  private let settings: Settings
  private let communicator: any Communicator
  private let assignment: LaneAssignment
  private let lanes: Range<Int>
  private let weightMemory: NodeMemory
  private let gradientMemory: NodeMemory
  private let layout: GradientLayout
  private let exchange: GradientExchange
  private let arena: Arena

  /// Throws: `Failure` (.configuration) when there are more ranks than lanes.
  package init(
    _ model: Transformer, bounds: BatchBounds, settings: Settings,
    communicator: any Communicator
  ) throws(Failure) {
    let assignment = try LaneAssignment(lanes: settings.lanes, replicas: communicator.size)
    let grid = try ProcessGrid(nodeOfRank: communicator.nodes.nodeOfRank, stages: 1)
    let ranks = grid.ranks(ofStage: 0)
    let replica = grid.replica(of: communicator.rank)
    let sections = [0..<model.layout.count]
    ownership = OwnershipMap(sections: sections, stageOfSection: [0], ranksOfStage: [ranks])
    self.model = model
    self.settings = settings
    self.communicator = communicator
    self.assignment = assignment
    lanes = assignment.lanes(of: replica)
    let layouts = (0..<grid.replicas).map {
      GradientLayout(lanes: assignment.lanes(of: $0), parts: sections.map { ($0, 1) })
    }
    layout = layouts[replica]
    gradientMemory = try communicator.shareNodeMemory(count: layout.count, "gradients")
    let leads = communicator.nodeRanks[0] == communicator.rank
    weightMemory = try communicator.shareNodeMemory(
      count: leads ? model.layout.count : 0, "weights")
    exchange = GradientExchange(
      communicator: communicator,
      group: ExchangeGroup(
        ranks: ranks, nodeOfRank: communicator.nodes.nodeOfRank, replica: replica),
      stage: 0, layouts: layouts, memory: gradientMemory,
      counters: try communicator.shareNodeCounters(count: sections.count), ownership: ownership,
      completionOrder: [0])
    optimizer = ShardedOptimizer(
      communicator: communicator, ownership: ownership, usersOfSection: [[0]],
      adam: settings.adam, clipNorm: settings.clipNorm)
    arena = Arena(capacity: model.arenaCapacity(bounds))
  }

  /// All parameters, in layout order.
  package var weights: Vector { weightMemory.vector(of: communicator.nodeRanks[0]) }

  /// Whether this rank fills the weights of its node.
  package var leadsNode: Bool { communicator.nodeRanks[0] == communicator.rank }

  /// Which of a step's micro-batches this rank computes.
  package var ownMicroBatches: Range<Int> {
    let each = settings.microBatchesPerLane
    return lanes.lowerBound * each..<lanes.upperBound * each
  }

  /// What this rank keeps in memory, in bytes, by purpose.
  package var memory: [(name: String, byteCount: Int)] {
    [
      ("weights", model.layout.count * 4), ("gradients", layout.count * 4),
      ("moments", optimizer.byteCount), ("activations", arena.capacity * 4),
      ("exchange", exchange.byteCount),
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
    try exchange.begin(step: number)
    let laneLosses = computeLanes(number, microBatches, targetTokens)
    try exchange.completed(section: 0)
    phases.lanes = watch.seconds
    try exchange.finish()
    phases.exchange = watch.seconds - phases.lanes
    let update = try optimizer.step(
      weights: weights, gradient: exchange.gradient, chunkSums: exchange.chunkSums, step: number,
      learningRate: learningRate)
    phases.update = watch.seconds - phases.exchange - phases.lanes
    let sums = try LaneSums.reduce(
      laneLosses.map { [$0.smoothed, $0.negativeLogLikelihood] }, assignment: assignment,
      over: communicator)
    return Outcome(
      loss: sums[0] / Double(targetTokens), crossEntropy: sums[1] / Double(targetTokens),
      gradientNorm: update.gradientNorm, isUpdated: update.isUpdated)
  }

  /// Copies a range of the state from its owners to rank 0.
  ///
  /// Collective. Writes: `target` on rank 0; it is ignored elsewhere.
  func gather(_ vector: StateVector, _ range: Range<Int>, into target: Vector?) throws(Failure) {
    var transfers: [Transfer] = []
    for (owner, span) in ownership.spansInOrder where span.overlaps(range) {
      let part = span.clamped(to: range)
      if owner == communicator.rank {
        let local = part.lowerBound - span.lowerBound..<part.upperBound - span.lowerBound
        let source =
          switch vector {
          case .parameters: weights[part]
          case .firstMoment: optimizer.moment(.first, span)[local]
          case .secondMoment: optimizer.moment(.second, span)[local]
          }
        transfers.append(.send(source, to: 0))
      }
      if let target, communicator.rank == 0 {
        let place = part.lowerBound - range.lowerBound..<part.upperBound - range.lowerBound
        transfers.append(.receive(into: target[place], from: owner))
      }
    }
    try communicator.exchange(transfers)
  }

  /// The loss of a micro-batch under the current weights, without dropout or smoothing.
  package func evaluate(_ batch: MicroBatch) -> LossSum {
    model.evaluate(batch, smoothing: 0, Pass(evaluating: weights, arena: arena))
  }

  /// Forward and backward of every own lane; leaves their gradients in the accumulator.
  private func computeLanes(
    _ number: Int, _ microBatches: [MicroBatch], _ targetTokens: Int
  ) -> [LossSum] {
    precondition(microBatches.count == ownMicroBatches.count, "the micro-batches of the own lanes")
    let dropout = Dropout(probability: settings.dropout)
    var next = microBatches.makeIterator()
    let memory = gradientMemory.vector(of: communicator.rank)
    return lanes.map { lane in
      let gradient = layout.gradient(of: lane, part: 0, in: memory).vector
      var loss = LossSum()
      for index in 0..<settings.microBatchesPerLane {
        guard let batch = next.next() else { preconditionFailure("counted above") }
        let place = Pass.Place(
          seed: settings.seed, step: number, lane: lane, microBatch: index)
        loss += model.train(
          batch, smoothing: settings.smoothing, gradientScale: 1 / Float(targetTokens),
          Pass(weights: weights, arena: arena, dropout: dropout, place: place),
          GradientTarget(gradient, accumulates: index > 0))
      }
      layout.complete(lane, 0..<model.layout.count, in: memory)
      return loss
    }
  }
}
