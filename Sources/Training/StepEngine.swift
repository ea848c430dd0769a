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
    package var parallel: RunConfiguration.ParallelGroup

    package init(_ configuration: RunConfiguration) {
      seed = configuration.seed
      parallel = configuration.parallel
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
    /// False when the gradient was not finite or too large; nothing has changed then.
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
  package let plan: StagePlan
  /// Of the last step.
  package private(set) var phases = Phases()
  package let optimizer: ShardedOptimizer
  package let ownership: OwnershipMap
  private let settings: Settings
  let communicator: any Communicator
  private let weightMemory: NodeMemory
  private let exchange: GradientExchange
  private let executor: StageExecutor
  private let copies: ReplicaCheck
  /// Numbers that the rounded operands of a product have at most.
  private let operandCount: Int

  /// Collective. Throws: `Failure` (.configuration) when ranks, stages, lanes and layers do not fit
  /// together; what `shareNodeMemory` throws.
  package init(
    _ model: Transformer, bounds: BatchBounds, settings: Settings,
    communicator: any Communicator
  ) throws(Failure) {
    let nodes = communicator.nodes.nodeOfRank
    let plan = try StagePlan(
      model, settings.plan, bounds: bounds, nodeOfRank: nodes, rank: communicator.rank)
    self.model = model
    self.plan = plan
    self.settings = settings
    self.communicator = communicator
    ownership = OwnershipMap(
      sections: plan.sections, stageOfSection: plan.stageOfSection,
      ranksOfStage: (0..<plan.grid.stages).map { plan.grid.ranks(ofStage: $0) })
    operandCount = model.operandCount(bounds)
    let gradients = try communicator.shareNodeMemory(count: plan.layout.count, "gradients")
    let leads = communicator.nodeRanks[0] == communicator.rank
    weightMemory = try communicator.shareNodeMemory(
      count: leads ? model.layout.count : 0, "weights")
    exchange = GradientExchange(
      communicator: communicator,
      group: ExchangeGroup(
        ranks: plan.grid.ranks(ofStage: plan.stage), nodeOfRank: nodes, replica: plan.replica),
      stage: plan.stage, layouts: plan.layouts, memory: gradients,
      counters: try communicator.shareNodeCounters(count: plan.sections.count),
      ownership: ownership, completionOrder: plan.completionOrder,
      usesMPI: settings.parallel.exchange == .mpi)
    optimizer = ShardedOptimizer(
      communicator: communicator, ownership: ownership, usersOfSection: plan.usersOfSection,
      adam: settings.adam, clipNorm: settings.clipNorm)
    executor = try StageExecutor(
      plan, bounds: bounds, communicator: communicator,
      weights: weightMemory.vector(of: communicator.nodeRanks[0]),
      gradients: gradients.vector(of: communicator.rank))
    copies = ReplicaCheck(
      communicator: communicator, layout: model.layout, usersOfSection: plan.usersOfSection,
      stageOfRank: nodes.indices.map { plan.grid.stage(of: $0) },
      ownedSpans: optimizer.ownedSpans)
  }

  /// An engine on every rank, or the same failure: memory may be short on one node only.
  ///
  /// Collective. Throws: as `init`.
  package static func together(
    _ model: Transformer, bounds: BatchBounds, _ configuration: RunConfiguration,
    communicator: any Communicator
  ) throws(Failure) -> StepEngine {
    if configuration.parallel.exchange == .messages { communicator.separateNodes() }
    return try communicator.together { () throws(Failure) in
      // Nothing in here waits for another node.
      let engine = try StepEngine(
        model, bounds: bounds, settings: Settings(configuration), communicator: communicator)
      // The first barrier needs memory, too.
      try communicator.nodeBarrier()
      return engine
    }
  }

  /// All parameters, in layout order; those of stages on other nodes only are not there.
  package var weights: Vector { weightMemory.vector(of: communicator.nodeRanks[0]) }

  /// The parameters this rank fills, so that the ranks of a node together have all that the node
  /// computes with; only such as this rank computes with itself.
  package var weightsToFill: [Range<Int>] {
    let users = plan.usersOfSection
    return plan.sections.indices.filter { section in
      let ranks = communicator.nodeRanks.filter {
        users[section].contains(plan.grid.stage(of: $0))
      }
      return !ranks.isEmpty && ranks[section % ranks.count] == communicator.rank
    }.map { plan.sections[$0] }
  }

  /// Which of a step's micro-batches this rank's replica computes.
  package var ownMicroBatches: Range<Int> {
    let each = settings.microBatchesPerLane
    return plan.lanes.lowerBound * each..<plan.lanes.upperBound * each
  }

  /// What this rank keeps in memory, in bytes, by purpose. The weights of a node lie there once;
  /// each of its ranks counts those it computes with, divided by the ranks that share them.
  package var memory: [(name: String, byteCount: Int)] {
    let users = plan.usersOfSection
    let onNode = communicator.nodeRanks.map { plan.grid.stage(of: $0) }
    let weights = plan.sections.indices.filter { users[$0].contains(plan.stage) }.map { section in
      plan.sections[section].count * 4 / onNode.filter { users[section].contains($0) }.count
    }
    return [
      ("weights", weights.reduce(0, +)), ("gradients", plan.layout.count * 4),
      ("moments", optimizer.byteCount), ("activations", executor.byteCount),
      ("buffers", exchange.byteCount),
      // Weights and moments of the own spans, from the first save on.
      ("snapshot", optimizer.byteCount / 2 * 3),
    ] + (ReducedProducts.areInUse ? [("operands", 2 * operandCount)] : [])
  }

  /// One step.
  ///
  /// Collective. Writes: weights and moments on every rank, unless the gradient is not finite or
  /// too large.
  /// - Parameters:
  ///   - number: of the step, from 1; decides dropout masks and bias correction.
  ///   - microBatches: those of `ownMicroBatches`, in order.
  ///   - targetTokens: of the whole step, over all ranks.
  package func step(
    _ number: Int, microBatches: [MicroBatch], targetTokens: Int, learningRate: Double
  ) throws(Failure) -> Outcome {
    let watch = Stopwatch()
    communicator.waits.setStep(number)
    let isChecked = number.isMultiple(of: settings.parallel.checkEvery)
    if isChecked, !copies.remembers { copies.remember(weights) }
    try exchange.begin(step: number)
    let losses = try executor.train(
      microBatches,
      StageExecutor.Step(
        seed: settings.seed, number: number, lanes: plan.lanes,
        dropout: Dropout(probability: settings.dropout),
        objective: ModelChunk.Objective(
          smoothing: settings.smoothing, gradientScale: 1 / Float(targetTokens)))
    ) { (section) throws(Failure) in try exchange.completed(section: section) }
    phases.lanes = watch.seconds
    try exchange.finish()
    phases.exchange = watch.seconds - phases.lanes
    if isChecked { try compareCopies(step: number) }
    let update = try optimizer.step(
      weights: weights, gradient: exchange.gradient, chunkSums: exchange.chunkSums, step: number,
      learningRate: learningRate)
    noteCopies(after: number, isUpdated: update.isUpdated)
    phases.update = watch.seconds - phases.exchange - phases.lanes
    let sums = try LaneSums.reduce(
      losses.map { [$0.smoothed, $0.negativeLogLikelihood] }, assignment: plan.assignment,
      from: plan.grid.ranks(ofStage: plan.placement.lastStage), over: communicator)
    return Outcome(
      loss: sums[0] / Double(targetTokens), crossEntropy: sums[1] / Double(targetTokens),
      gradientNorm: update.gradientNorm, isUpdated: update.isUpdated)
  }

  /// Compares all copies of the weights with each other and with what their owners wrote.
  ///
  /// Collective. Throws: `Failure` (.outOfLockstep), the same on every rank, where they differ.
  package func compareCopies(step: Int) throws(Failure) {
    try copies.compare(weights, step: step)
  }

  /// Before a step that is checked the owners note what they wrote.
  private func noteCopies(after step: Int, isUpdated: Bool) {
    guard (step + 1).isMultiple(of: settings.parallel.checkEvery) else { return copies.forget() }
    if isUpdated || !copies.remembers { copies.remember(weights) }
  }

  /// The losses of micro-batches under the current weights, without dropout or smoothing.
  ///
  /// Collective over the stages of the replica, which give the same micro-batches. Returns: on the
  /// last stage one a micro-batch, elsewhere nothing.
  package func evaluate(_ batches: [MicroBatch]) throws(Failure) -> [LossSum] {
    try executor.evaluate(batches)
  }
}

extension StepEngine.Settings {
  fileprivate var plan: StagePlan.Settings {
    var plan = StagePlan.Settings(lanes: lanes, microBatchesPerLane: microBatchesPerLane)
    plan.stages = parallel.stages
    plan.chunksPerStage = parallel.chunks
    plan.kind = parallel.schedule
    plan.stageBlocks = parallel.stageBlocks
    return plan
  }
}
