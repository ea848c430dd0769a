import Core
import Models

/// How a model is spread over the ranks of a job, seen by one of them: its replica and stage, the
/// chunks it holds, the order in which it works, where its gradients lie.
package struct StagePlan: Sendable {
  /// What the user decides.
  package struct Settings: Sendable {
    package var stages = 1
    package var chunksPerStage = 1
    package var kind = PipelineSchedule.Kind.oneForwardOneBackward
    /// How many blocks each chunk gets; nil cuts by cost.
    package var stageBlocks: [Int]?
    package var lanes: Int
    package var microBatchesPerLane: Int

    package init(lanes: Int, microBatchesPerLane: Int) {
      self.lanes = lanes
      self.microBatchesPerLane = microBatchesPerLane
    }
  }

  package let model: Transformer
  package let grid: ProcessGrid
  package let assignment: LaneAssignment
  package let partition: StagePartition
  package let replica: Int
  package let stage: Int
  /// Of the own replica.
  package let schedule: PipelineSchedule
  /// The own chunks by number.
  package let chunks: [Int: ModelChunk]
  /// Of the model, by number; the embedding's is the last.
  package let sections: [Range<Int>]
  /// How the gradients of this rank's stage lie on each replica, in replica order.
  package let layouts: [GradientLayout]

  /// - Parameters:
  ///   - nodeOfRank: which ranks share memory.
  ///   - bounds: of a micro-batch; decides what blocks cost.
  ///
  /// Throws: `Failure` (.configuration) when ranks, stages, lanes and layers do not fit together.
  package init(
    _ model: Transformer, _ settings: Settings, bounds: BatchBounds, nodeOfRank: [Int], rank: Int
  ) throws(Failure) {
    self.model = model
    grid = try ProcessGrid(nodeOfRank: nodeOfRank, stages: settings.stages)
    guard settings.stages > 1 || settings.chunksPerStage == 1 else {
      throw Failure(
        .configuration,
        "parallel.chunks: expected 1 without pipeline stages, found \(settings.chunksPerStage);"
          + " set parallel.stages or use one chunk")
    }
    assignment = try LaneAssignment(lanes: settings.lanes, replicas: grid.replicas)
    let placement = ChunkPlacement(
      stages: settings.stages, chunksPerStage: settings.chunksPerStage)
    let partition = try Self.partition(model, settings, bounds, placement)
    self.partition = partition
    replica = grid.replica(of: rank)
    let stage = grid.stage(of: rank)
    self.stage = stage
    // Replicas with as many lanes have the same schedule.
    var schedules: [Int: PipelineSchedule] = [:]
    for replica in 0..<grid.replicas {
      let lanes = assignment.lanes(of: replica).count
      guard schedules[lanes] == nil else { continue }
      schedules[lanes] = try PipelineSchedule(
        kind: settings.kind, placement: placement,
        microBatches: lanes * settings.microBatchesPerLane,
        microBatchesPerLane: settings.microBatchesPerLane,
        targetEmbeddingChunk: partition.chunk(of: model.shape.encoderLayers))
    }
    guard let schedule = schedules[assignment.lanes(of: replica).count] else {
      preconditionFailure("every replica has a schedule")
    }
    self.schedule = schedule
    let chunks = Dictionary(
      uniqueKeysWithValues: placement.chunks(of: stage).map { chunk in
        (chunk, model.chunk(partition.blocks[chunk]))
      })
    self.chunks = chunks
    let sections = model.layout.sections.map(\.range)
    self.sections = sections
    layouts = (0..<grid.replicas).map { [assignment] replica in
      let lanes = assignment.lanes(of: replica)
      var parts = placement.chunks(of: stage).compactMap { chunk in
        chunks[chunk].map { (parameters: $0.parameters, openLanes: 1) }
      }
      if stage == placement.lastStage, let embedding = sections.last {
        parts.append((embedding, schedules[lanes.count]?.openLanes ?? 1))
      }
      return GradientLayout(lanes: lanes, parts: parts)
    }
  }

  private static func partition(
    _ model: Transformer, _ settings: Settings, _ bounds: BatchBounds, _ placement: ChunkPlacement
  ) throws(Failure) -> StagePartition {
    let costs = model.blockCosts(bounds)
    // Whole numbers keep the cut the same on every machine.
    let unit = max(1, (costs.max() ?? 1) / 1_000_000)
    let rounded = costs.map { Int($0 / unit) }
    guard let blocks = settings.stageBlocks else {
      return try StagePartition(blockCosts: rounded, placement: placement)
    }
    return try StagePartition(blockCosts: rounded, stageBlocks: blocks, placement: placement)
  }

  package var placement: ChunkPlacement { partition.placement }
  package var isLastStage: Bool { stage == placement.lastStage }
  package var lastChunk: Int { placement.lastChunk }
  /// The lanes of the own replica.
  package var lanes: Range<Int> { assignment.lanes(of: replica) }
  /// The first parameter of the own chunks.
  package var firstOwnParameter: Int {
    chunks.values.map(\.parameters.lowerBound).min() ?? 0
  }
  /// How the gradients of this rank lie.
  package var layout: GradientLayout { layouts[replica] }

  /// The part of the gradients that belongs to an own chunk.
  func part(of chunk: Int) -> Int {
    placement.chunks(of: stage).firstIndex(of: chunk) ?? 0
  }

  /// The part with the embedding's gradient, on the last stage.
  var embeddingPart: Int { placement.chunksPerStage }

  /// The rank of the own replica with a stage.
  func rank(ofStage stage: Int) -> Int { grid.rank(replica: replica, stage: stage) }

  /// The stage that has the gradient of each section.
  package var stageOfSection: [Int] {
    sections.indices.map { section in
      section == sections.count - 1
        ? placement.lastStage : placement.stage(of: partition.chunk(of: section))
    }
  }

  /// The stages that compute with the weights of each section: one, but for the embedding, which is
  /// also looked up where sentences enter the encoder and the decoder.
  package var usersOfSection: [[Int]] {
    sections.indices.map { section in
      guard section == sections.count - 1 else {
        return [placement.stage(of: partition.chunk(of: section))]
      }
      let lookUps = schedule.tokenChunks.map { placement.stage(of: $0) }
      return Set(lookUps + [placement.lastStage]).sorted()
    }
  }

  /// The sections of this stage in the order in which their gradients are complete: last block
  /// first, the embedding at the end.
  package var completionOrder: [Int] {
    let blocks = placement.chunks(of: stage).reversed().flatMap { partition.blocks[$0].reversed() }
    return blocks + (isLastStage ? [sections.count - 1] : [])
  }
}
