/// A forward or backward pass of one micro-batch through one chunk.
package struct PipelinePass: Hashable, Sendable {
  package enum Direction: Sendable { case forward, backward }

  package let direction: Direction
  package let microBatch: Int
  package let chunk: Int

  package init(_ direction: Direction, microBatch: Int, chunk: Int) {
    self.direction = direction
    self.microBatch = microBatch
    self.chunk = chunk
  }
}

/// The passes of each stage in the order in which it makes them: what a schedule is, without the
/// messages that follow from it.
///
/// Every chunk makes its forward passes in micro-batch order, and its backward passes too.
package struct PipelineOrder: Sendable, Equatable {
  package let placement: ChunkPlacement
  package let passes: [[PipelinePass]]

  /// All forward passes, then all backward passes. A single stage has nothing to gain by it and
  /// takes one micro-batch after the other.
  ///
  /// Source: Huang et al., "GPipe", 2019, without recomputation; there the backward passes run last
  /// micro-batch first, which takes equally long.
  static func gpipe(stages: Int, microBatches: Int) -> PipelineOrder {
    warmedUp(ChunkPlacement(stages: stages), microBatches: microBatches) { _ in
      stages == 1 ? 0 : .max
    }
  }

  /// One forward, one backward, after as many forward passes as there are stages behind: a stage
  /// holds at most min(stages - stage, micro-batches) micro-batches.
  ///
  /// Source: Narayanan et al., "PipeDream", 2019, with the flush at the end of a step
  /// ("PipeDream-Flush" in the next source).
  static func oneForwardOneBackward(stages: Int, microBatches: Int) -> PipelineOrder {
    warmedUp(ChunkPlacement(stages: stages), microBatches: microBatches) { stages - 1 - $0 }
  }

  /// One forward, one backward, with several chunks a stage: groups of `stages` micro-batches go
  /// through chunk after chunk.
  ///
  /// Source: Narayanan et al., "Efficient Large-Scale Language Model Training on GPU Clusters Using
  /// Megatron-LM", 2021, section 2.2. There the micro-batches are a multiple of the stages; here
  /// the last group may be smaller: its order is that of a full group without the passes of the
  /// micro-batches that are missing. A pass depends on passes of its own micro-batch only, so what
  /// is left runs as it did.
  static func interleaved(_ placement: ChunkPlacement, microBatches: Int) -> PipelineOrder {
    let stages = placement.stages
    if placement.chunksPerStage == 1 {
      return oneForwardOneBackward(stages: stages, microBatches: microBatches)
    }
    if stages == 1 { return wholeModel(placement, microBatches: microBatches) }
    return warmedUp(placement, microBatches: microBatches) { stage in
      (stages - 1 - stage) * 2 + (placement.chunksPerStage - 1) * stages
    }
  }

  /// Only forward passes, in the order in which the schedule with these chunks makes them.
  static func forwardOnly(_ placement: ChunkPlacement, microBatches: Int) -> PipelineOrder {
    let passes = (0..<placement.stages).map { stage in
      visits(placement, microBatches: microBatches).map { microBatch, turn in
        PipelinePass(.forward, microBatch: microBatch, chunk: turn * placement.stages + stage)
      }
    }
    return PipelineOrder(placement: placement, passes: passes)
  }

  /// A single stage: each micro-batch through all chunks and back.
  private static func wholeModel(
    _ placement: ChunkPlacement, microBatches: Int
  ) -> PipelineOrder {
    let chunks = 0..<placement.chunkCount
    let passes = (0..<microBatches).flatMap { microBatch in
      chunks.map { PipelinePass(.forward, microBatch: microBatch, chunk: $0) }
        + chunks.reversed().map { PipelinePass(.backward, microBatch: microBatch, chunk: $0) }
    }
    return PipelineOrder(placement: placement, passes: [passes])
  }

  /// Some forward passes, then forward and backward in turns, then the backward passes that are
  /// left.
  ///
  /// - Parameter warmUp: forward passes of a stage before the turns.
  private static func warmedUp(
    _ placement: ChunkPlacement, microBatches: Int, warmUp: (_ stage: Int) -> Int
  ) -> PipelineOrder {
    let stages = placement.stages
    // With several chunks a stage the last group is filled up, and emptied below.
    let groups = (microBatches + stages - 1) / stages
    let scheduled = placement.chunksPerStage == 1 ? microBatches : groups * stages
    let visits = visits(placement, microBatches: scheduled)
    let passes = (0..<stages).map { stage in
      let forward = visits.map { microBatch, turn in
        PipelinePass(.forward, microBatch: microBatch, chunk: turn * stages + stage)
      }
      let backward = visits.map { microBatch, turn in
        let turnBack = placement.chunksPerStage - 1 - turn
        return PipelinePass(.backward, microBatch: microBatch, chunk: turnBack * stages + stage)
      }
      let ahead = min(warmUp(stage), visits.count)
      var order = Array(forward[..<ahead])
      for index in ahead..<visits.count { order += [forward[index], backward[index - ahead]] }
      order += backward[(visits.count - ahead)...]
      return order.filter { $0.microBatch < microBatches }
    }
    return PipelineOrder(placement: placement, passes: passes)
  }

  /// The micro-batches as they visit a stage, each with how often it has been there before: a group
  /// of `stages` micro-batches makes all its turns before the next group starts.
  private static func visits(
    _ placement: ChunkPlacement, microBatches: Int
  ) -> [(microBatch: Int, turn: Int)] {
    stride(from: 0, to: microBatches, by: placement.stages).flatMap { first in
      (0..<placement.chunksPerStage).flatMap { turn in
        (first..<min(first + placement.stages, microBatches)).map { ($0, turn) }
      }
    }
  }

  // MARK: Dependencies

  /// The pass on another stage whose message a pass waits for.
  package func remoteInput(of pass: PipelinePass) -> PipelinePass? {
    let neighbour: Int
    switch pass.direction {
    case .forward:
      guard placement.previousStage(of: pass.chunk) != nil else { return nil }
      neighbour = pass.chunk - 1
    case .backward:
      guard placement.nextStage(of: pass.chunk) != nil else { return nil }
      neighbour = pass.chunk + 1
    }
    return PipelinePass(pass.direction, microBatch: pass.microBatch, chunk: neighbour)
  }

  /// Visits every pass after what it waits for: its stage's passes before it and its remote input.
  ///
  /// Precondition: the order does not block, as none does that this type makes.
  package func forEachPass(_ body: (_ stage: Int, _ index: Int, PipelinePass) -> Void) {
    var done: Set<PipelinePass> = []
    var next = [Int](repeating: 0, count: passes.count)
    var left = passes.reduce(0) { $0 + $1.count }
    while left > 0 {
      let leftBefore = left
      for stage in passes.indices {
        while next[stage] < passes[stage].count {
          let pass = passes[stage][next[stage]]
          if let input = remoteInput(of: pass), !done.contains(input) { break }
          body(stage, next[stage], pass)
          done.insert(pass)
          next[stage] += 1
          left -= 1
        }
      }
      precondition(left < leftBefore, "every stage waits for another")
    }
  }
}
