import Core

/// What each stage of a pipeline does in a step, instruction by instruction: data that a small loop
/// executes.
///
/// Order: a chunk's backward passes run in micro-batch order in every schedule, so a lane's
/// gradient is the same sum whatever the schedule; so does a lane's embedding gradient, which
/// `collectTokenGradients` completes lane by lane.
///
/// Messages: sends do not block, receives do. Messages from one stage to another are received in
/// the order in which they were sent, among those of one kind: activations, gradients, and the
/// token gradients of each chunk.
package struct PipelineSchedule: Sendable, Equatable {
  package enum Kind: String, Sendable, CaseIterable {
    case gpipe
    case oneForwardOneBackward = "1f1b"
    case interleaved
  }

  /// `chunk` is always a chunk of the stage that executes the instruction.
  package enum Instruction: Hashable, Sendable {
    /// Waits for the input of the chunk.
    case receiveActivation(microBatch: Int, chunk: Int)
    /// Runs the chunk and keeps what its backward pass needs; the last chunk computes the loss.
    case forward(microBatch: Int, chunk: Int)
    /// Sends the output of the chunk.
    case sendActivation(microBatch: Int, chunk: Int)
    /// Waits for the gradient of the output of the chunk.
    case receiveGradient(microBatch: Int, chunk: Int)
    /// Adds to the lane gradients of the chunk and gives up what its forward pass kept.
    case backward(microBatch: Int, chunk: Int)
    /// Sends the gradient of the input of the chunk.
    case sendGradient(microBatch: Int, chunk: Int)
    /// Sends the gradients of the embedding rows that the chunk looked up to the last stage.
    case sendTokenGradients(microBatch: Int, chunk: Int)
    /// On the last stage: waits for the token gradients of all micro-batches of a lane, adds them
    /// to its embedding gradient and thereby completes it. Every lane once, in order.
    case collectTokenGradients(lane: Int)
  }

  package let placement: ChunkPlacement
  package let microBatches: Int
  package let microBatchesPerLane: Int
  /// The chunks that look up embeddings, ascending: the first, and the one with the first decoder
  /// layer.
  package let tokenChunks: [Int]
  /// The passes the instructions were made from.
  package let order: PipelineOrder
  /// The instructions of each stage.
  package let instructions: [[Instruction]]

  /// The schedule of a training step of one replica.
  ///
  /// - Parameter microBatches: of the replica in this step: a whole number of lanes.
  /// - Parameter targetEmbeddingChunk: the chunk with the first decoder layer.
  ///
  /// Throws: `Failure` (.configuration) when the kind has one chunk a stage and several are asked
  /// for.
  package init(
    kind: Kind, placement: ChunkPlacement, microBatches: Int, microBatchesPerLane: Int,
    targetEmbeddingChunk: Int
  ) throws(Failure) {
    guard kind == .interleaved || placement.chunksPerStage == 1 else {
      throw Failure(
        .configuration,
        "parallel.schedule: expected \(Kind.interleaved.rawValue) for "
          + "\(placement.chunksPerStage) chunks on each stage, found \(kind.rawValue); change the "
          + "schedule or use one chunk")
    }
    let stages = placement.stages
    let order =
      switch kind {
      case .gpipe: PipelineOrder.gpipe(stages: stages, microBatches: microBatches)
      case .oneForwardOneBackward:
        PipelineOrder.oneForwardOneBackward(stages: stages, microBatches: microBatches)
      case .interleaved: PipelineOrder.interleaved(placement, microBatches: microBatches)
      }
    self.init(
      order: order, microBatches: microBatches, microBatchesPerLane: microBatchesPerLane,
      tokenChunks: Set([0, targetEmbeddingChunk]).sorted())
  }

  /// The schedule of an evaluation: forward passes and their messages only.
  package static func evaluation(
    placement: ChunkPlacement, microBatches: Int
  ) -> PipelineSchedule {
    PipelineSchedule(
      order: .forwardOnly(placement, microBatches: microBatches), microBatches: microBatches,
      microBatchesPerLane: microBatches, tokenChunks: [])
  }

  private init(
    order: PipelineOrder, microBatches: Int, microBatchesPerLane: Int, tokenChunks: [Int]
  ) {
    precondition(microBatches > 0 && microBatchesPerLane > 0, "a step has micro-batches")
    precondition(
      microBatches.isMultiple(of: microBatchesPerLane), "a replica computes whole lanes")
    placement = order.placement
    precondition(tokenChunks.allSatisfy { $0 <= order.placement.lastChunk }, "no such chunk")
    self.order = order
    self.microBatches = microBatches
    self.microBatchesPerLane = microBatchesPerLane
    self.tokenChunks = tokenChunks
    let translation = InstructionTranslation(
      order: order, lanes: microBatches / microBatchesPerLane,
      microBatchesPerLane: microBatchesPerLane, tokenChunks: tokenChunks)
    instructions = (0..<order.placement.stages).map { translation.instructions(stage: $0) }
  }

  package var lanes: Int { microBatches / microBatchesPerLane }

  package func lane(of microBatch: Int) -> Int { microBatch / microBatchesPerLane }

  /// The token chunks on other stages than the last: they send one message a micro-batch.
  package var tokenGradientSenders: [Int] {
    tokenChunks.filter { placement.stage(of: $0) != placement.lastStage }
  }
}

// MARK: What a schedule holds at once

extension PipelineSchedule {
  /// The most activations of a chunk that are held at once, each of one micro-batch: the arenas it
  /// needs.
  ///
  /// One stage: 1. 1F1B: min(stages - stage, micro-batches). GPipe: all. Interleaved: over all
  /// chunks of a stage at most 2 (stages - 1 - stage) + (chunks a stage - 1) stages + 1.
  /// Evaluation: 1.
  package func inFlight(chunk: Int) -> Int {
    let passes = order.passes[placement.stage(of: chunk)].filter { $0.chunk == chunk }
    // Without a backward pass nothing is kept.
    guard passes.contains(where: { $0.direction == .backward }) else { return 1 }
    return peak(passes) { $0.direction == .forward ? 1 : -1 }
  }

  /// The most lanes whose embedding gradient the last stage has begun and not completed: from the
  /// loss of the lane's first micro-batch to `collectTokenGradients`.
  ///
  /// One stage: 1. 1F1B: min(lanes, (stages - 2) / microBatchesPerLane + 2), rounded down. GPipe:
  /// all lanes, as all losses come before all backward passes. Interleaved: as 1F1B with the stages
  /// doubled, at most. Evaluation: 0.
  package var openLanes: Int {
    if tokenChunks.isEmpty { return 0 }
    return peak(instructions[placement.lastStage]) { instruction in
      switch instruction {
      case .forward(let microBatch, placement.lastChunk):
        microBatch.isMultiple(of: microBatchesPerLane) ? 1 : 0
      case .collectTokenGradients: -1
      default: 0
      }
    }
  }

  private func peak<Event>(_ events: [Event], change: (Event) -> Int) -> Int {
    var level = 0
    var peak = 0
    for event in events {
      level += change(event)
      peak = max(peak, level)
    }
    return peak
  }
}
