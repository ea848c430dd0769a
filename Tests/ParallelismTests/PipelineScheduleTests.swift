import Core
import Parallelism
import Testing

/// Every training schedule for some stages: kinds, chunks a stage, 1 to 16 micro-batches, lanes of
/// every size, the first decoder layer in the first, a middle or the last chunk in turn.
func withEverySchedule(
  stages: Int, _ body: (PipelineSchedule, PipelineSchedule.Kind) throws -> Void
) throws {
  for kind in PipelineSchedule.Kind.allCases {
    for chunks in 1...(kind == .interleaved ? 3 : 1) {
      let placement = ChunkPlacement(stages: stages, chunksPerStage: chunks)
      for microBatches in 1...16 {
        for perLane in 1...microBatches where microBatches.isMultiple(of: perLane) {
          let targets = [0, placement.chunkCount / 2, placement.lastChunk]
          try body(
            PipelineSchedule(
              kind: kind, placement: placement, microBatches: microBatches,
              microBatchesPerLane: perLane,
              targetEmbeddingChunk: targets[(microBatches / perLane) % 3]), kind)
        }
      }
    }
  }
}

@Suite struct PipelineScheduleTests {
  @Test(arguments: 1...8) func everyScheduleRunsAndKeepsItsPromises(stages: Int) throws {
    try withEverySchedule(stages: stages) { schedule, kind in
      let outcome = try ScheduleSimulator(schedule).run()
      let place = schedule.placement
      let name: Comment =
        "\(kind) \(place) \(schedule.microBatches) \(schedule.microBatchesPerLane)"
      #expect(
        outcome.inFlightOfChunk == (0..<place.chunkCount).map { schedule.inFlight(chunk: $0) }, name
      )
      #expect(outcome.openLanes == schedule.openLanes, name)
      #expect(outcome.makespan == PipelineTimeline(schedule).makespan, name)
    }
  }

  @Test(arguments: 1...8) func activationsInFlightKeepTheBoundOfTheirSchedule(stages: Int) throws {
    try withEverySchedule(stages: stages) { schedule, kind in
      let (microBatches, chunks) = (schedule.microBatches, schedule.placement.chunksPerStage)
      let outcome = try ScheduleSimulator(schedule).run()
      for (stage, inFlight) in outcome.inFlight.enumerated() {
        let behind = stages - 1 - stage
        switch kind {
        case .gpipe: #expect(inFlight == (stages == 1 ? 1 : microBatches))
        case .interleaved where chunks > 1:
          #expect(inFlight <= 2 * behind + (chunks - 1) * stages + 1)
          #expect(inFlight <= microBatches * chunks)
        case .oneForwardOneBackward, .interleaved:
          #expect(inFlight == min(behind + 1, microBatches))
        }
      }
    }
  }

  @Test(arguments: 1...8) func fewLanesAreOpenAtOnce(stages: Int) throws {
    try withEverySchedule(stages: stages) { schedule, kind in
      let (lanes, perLane) = (schedule.lanes, schedule.microBatchesPerLane)
      if stages == 1 {
        #expect(schedule.openLanes == 1)
        return
      }
      switch kind {
      case .gpipe: #expect(schedule.openLanes == lanes)
      case .interleaved where schedule.placement.chunksPerStage > 1:
        #expect(schedule.openLanes <= min(lanes, (2 * stages - 2) / perLane + 2))
      case .oneForwardOneBackward, .interleaved:
        #expect(schedule.openLanes == min(lanes, (stages - 2) / perLane + 2))
      }
    }
  }

  /// Of equally fast stages: idle share (p - 1) / (v m + p - 1), v = 1 where a stage has one chunk,
  /// of a step in which each stage works 3 v m.
  @Test(arguments: 1...8) func theBubbleIsThatOfTheory(stages: Int) throws {
    try withEverySchedule(stages: stages) { schedule, kind in
      let chunks = schedule.placement.chunksPerStage
      let microBatches = schedule.microBatches
      let outcome = try ScheduleSimulator(schedule).run()
      let slots = chunks * microBatches + stages - 1
      if chunks == 1 || microBatches.isMultiple(of: stages) {
        #expect(outcome.makespan == 3 * slots)
      } else {
        // No longer than with the last group filled up.
        let groups = (microBatches + stages - 1) / stages
        #expect(outcome.makespan <= 3 * (chunks * groups * stages + stages - 1))
      }
    }
  }

  @Test(arguments: 1...8) func theLastStageNeverWaitsForTokensWhileItHasWork(
    stages: Int
  ) throws {
    try withEverySchedule(stages: stages) { schedule, _ in
      let salt = schedule.microBatchesPerLane % 5
      let outcome = try ScheduleSimulator(schedule).run { stage, instruction in
        switch instruction {
        case .forward(let microBatch, let chunk):
          1 + (7 * microBatch + 13 * chunk + 5 * salt) * (salt + stage + 1) % 11
        case .backward(let microBatch, let chunk):
          1 + (11 * microBatch + 3 * chunk + 7 * salt) * (salt + 2 * stage + 1) % 23
        default: 0
        }
      }
      #expect(outcome.stalledForTokens == 0)
      #expect(outcome.openLanes == schedule.openLanes)
      #expect(
        outcome.inFlightOfChunk
          == (0..<schedule.placement.chunkCount).map { schedule.inFlight(chunk: $0) })
    }
  }

  @Test(arguments: 1...8, [1, 2, 3]) func evaluationRunsForward(stages: Int, chunks: Int) throws {
    let placement = ChunkPlacement(stages: stages, chunksPerStage: chunks)
    for microBatches in 1...16 {
      let schedule = PipelineSchedule.evaluation(placement: placement, microBatches: microBatches)
      let outcome = try ScheduleSimulator(schedule).run()
      #expect(outcome.inFlight == Array(repeating: 1, count: stages))
      #expect((0..<placement.chunkCount).allSatisfy { schedule.inFlight(chunk: $0) == 1 })
      #expect(outcome.openLanes == 0 && schedule.openLanes == 0)
      if chunks == 1 { #expect(outcome.makespan == microBatches + stages - 1) }
    }
  }

  @Test func oneStageHasNoMessages() throws {
    let schedule = try PipelineSchedule(
      kind: .oneForwardOneBackward, placement: ChunkPlacement(stages: 1), microBatches: 4,
      microBatchesPerLane: 2, targetEmbeddingChunk: 0)
    #expect(
      schedule.instructions == [
        [
          .forward(microBatch: 0, chunk: 0), .backward(microBatch: 0, chunk: 0),
          .forward(microBatch: 1, chunk: 0), .backward(microBatch: 1, chunk: 0),
          .collectTokenGradients(lane: 0),
          .forward(microBatch: 2, chunk: 0), .backward(microBatch: 2, chunk: 0),
          .forward(microBatch: 3, chunk: 0), .backward(microBatch: 3, chunk: 0),
          .collectTokenGradients(lane: 1),
        ]
      ])
    #expect(schedule.tokenGradientSenders.isEmpty)
  }

  @Test func twoStagesInFull() throws {
    let schedule = try PipelineSchedule(
      kind: .oneForwardOneBackward, placement: ChunkPlacement(stages: 2), microBatches: 3,
      microBatchesPerLane: 1, targetEmbeddingChunk: 1)
    #expect(
      schedule.instructions[0] == [
        .forward(microBatch: 0, chunk: 0), .sendActivation(microBatch: 0, chunk: 0),
        .forward(microBatch: 1, chunk: 0), .sendActivation(microBatch: 1, chunk: 0),
        .receiveGradient(microBatch: 0, chunk: 0), .backward(microBatch: 0, chunk: 0),
        .sendTokenGradients(microBatch: 0, chunk: 0),
        .forward(microBatch: 2, chunk: 0), .sendActivation(microBatch: 2, chunk: 0),
        .receiveGradient(microBatch: 1, chunk: 0), .backward(microBatch: 1, chunk: 0),
        .sendTokenGradients(microBatch: 1, chunk: 0),
        .receiveGradient(microBatch: 2, chunk: 0), .backward(microBatch: 2, chunk: 0),
        .sendTokenGradients(microBatch: 2, chunk: 0),
      ])
    #expect(
      schedule.instructions[1] == [
        .receiveActivation(microBatch: 0, chunk: 1), .forward(microBatch: 0, chunk: 1),
        .backward(microBatch: 0, chunk: 1), .sendGradient(microBatch: 0, chunk: 1),
        .receiveActivation(microBatch: 1, chunk: 1), .forward(microBatch: 1, chunk: 1),
        .backward(microBatch: 1, chunk: 1), .sendGradient(microBatch: 1, chunk: 1),
        .receiveActivation(microBatch: 2, chunk: 1), .collectTokenGradients(lane: 0),
        .forward(microBatch: 2, chunk: 1),
        .backward(microBatch: 2, chunk: 1), .sendGradient(microBatch: 2, chunk: 1),
        .collectTokenGradients(lane: 1), .collectTokenGradients(lane: 2),
      ])
  }

  @Test(arguments: 2...8, 1...3) func bothEndsOfAMessageNameEachOther(
    stages: Int, chunks: Int
  ) throws {
    let placement = ChunkPlacement(stages: stages, chunksPerStage: chunks)
    let schedule = try PipelineSchedule(
      kind: .interleaved, placement: placement, microBatches: 5, microBatchesPerLane: 5,
      targetEmbeddingChunk: placement.lastChunk)
    for (stage, instructions) in schedule.instructions.enumerated() {
      for instruction in instructions {
        let other: PipelineSchedule.Instruction
        let peer: Int?
        switch instruction {
        case .sendActivation(let microBatch, let chunk):
          other = .receiveActivation(microBatch: microBatch, chunk: chunk + 1)
          peer = placement.nextStage(of: chunk)
          #expect(placement.previousStage(of: chunk + 1) == stage)
        case .sendGradient(let microBatch, let chunk):
          other = .receiveGradient(microBatch: microBatch, chunk: chunk - 1)
          peer = placement.previousStage(of: chunk)
          #expect(placement.nextStage(of: chunk - 1) == stage)
        default: continue
        }
        let receiver = try #require(peer)
        #expect(receiver != stage && schedule.instructions[receiver].contains(other))
      }
    }
    #expect(schedule.tokenGradientSenders == [0])
  }

  @Test(arguments: [PipelineSchedule.Kind.gpipe, .oneForwardOneBackward])
  func severalChunksNeedTheInterleavedSchedule(kind: PipelineSchedule.Kind) {
    #expect(
      throws: Failure(
        .configuration,
        "parallel.schedule: expected interleaved for 2 chunks on each stage, found "
          + "\(kind.rawValue); change the schedule or use one chunk")
    ) {
      try PipelineSchedule(
        kind: kind, placement: ChunkPlacement(stages: 2, chunksPerStage: 2), microBatches: 1,
        microBatchesPerLane: 1, targetEmbeddingChunk: 0)
    }
  }

  @Test func schedulesHaveTheNamesOfTheConfiguration() {
    #expect(PipelineSchedule.Kind.allCases.map(\.rawValue) == ["gpipe", "1f1b", "interleaved"])
  }
}
