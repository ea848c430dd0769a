import Parallelism
import Testing

/// What the simulator promises is worth something only if it finds schedules that are wrong.
@Suite struct ScheduleMutationTests {
  typealias Instruction = PipelineSchedule.Instruction

  private static let schedules: [PipelineSchedule] = [
    (PipelineSchedule.Kind.gpipe, 1), (.oneForwardOneBackward, 1), (.interleaved, 2),
  ].compactMap { kind, chunks in
    let placement = ChunkPlacement(stages: 3, chunksPerStage: chunks)
    return try? PipelineSchedule(
      kind: kind, placement: placement, microBatches: 6, microBatchesPerLane: 2,
      targetEmbeddingChunk: placement.chunkCount / 2)
  }

  /// Every way to change one stage's instructions that `change` gives, one at a time.
  private func expectViolations(
    _ change: ([Instruction]) -> [[Instruction]], sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    #expect(Self.schedules.count == 3)
    for schedule in Self.schedules {
      for stage in schedule.instructions.indices {
        let mutants = change(schedule.instructions[stage])
        #expect(!mutants.isEmpty, sourceLocation: sourceLocation)
        for mutant in mutants {
          var simulator = ScheduleSimulator(schedule)
          simulator.instructions[stage] = mutant
          #expect(throws: ScheduleSimulator.Violation.self, sourceLocation: sourceLocation) {
            try simulator.run()
          }
        }
      }
    }
  }

  @Test func aMissingInstructionIsFound() throws {
    try expectViolations { instructions in
      instructions.indices.map { index in
        var mutant = instructions
        mutant.remove(at: index)
        return mutant
      }
    }
  }

  @Test func anInstructionThatComesTwiceIsFound() throws {
    try expectViolations { instructions in
      instructions.indices.map { index in
        var mutant = instructions
        mutant.insert(instructions[index], at: index)
        return mutant
      }
    }
  }

  @Test func twoInstructionsOfAKindThatAreSwappedAreFound() throws {
    try expectViolations { instructions in
      instructions.indices.flatMap { first in
        instructions.indices.compactMap { second in
          guard first < second, isSameKind(instructions[first], instructions[second]) else {
            return nil
          }
          var mutant = instructions
          mutant.swapAt(first, second)
          return mutant
        }
      }
    }
  }

  @Test func anotherChunkIsFound() throws {
    try expectViolations { instructions in
      instructions.indices.compactMap { index in
        guard case .forward(let microBatch, let chunk) = instructions[index] else { return nil }
        var mutant = instructions
        mutant[index] = .forward(microBatch: microBatch, chunk: (chunk + 1) % 3)
        return mutant
      }
    }
  }

  @Test func stagesThatWaitForEachOtherAreFound() throws {
    var simulator = ScheduleSimulator(Self.schedules[1])
    // The gradient of micro-batch 1 before its activation has gone out.
    let early = try #require(
      simulator.instructions[1].firstIndex(of: .receiveGradient(microBatch: 1, chunk: 1)))
    let moved = simulator.instructions[1].remove(at: early)
    simulator.instructions[1].insert(moved, at: 0)
    #expect { try simulator.run() } throws: { "\($0)".contains("waits for ever") }
  }

  @Test func aBackwardPassThatComesLateHoldsMoreActivations() throws {
    let schedule = Self.schedules[1]
    var simulator = ScheduleSimulator(schedule)
    let backward = try #require(
      simulator.instructions[2].firstIndex(of: .backward(microBatch: 0, chunk: 2)))
    let work = simulator.instructions[2][backward...backward + 1]
    simulator.instructions[2].removeSubrange(backward...backward + 1)
    let forward = try #require(
      simulator.instructions[2].firstIndex(of: .forward(microBatch: 1, chunk: 2)))
    simulator.instructions[2].insert(contentsOf: work, at: forward + 1)
    let outcome = try simulator.run()
    #expect(outcome.inFlight[2] == schedule.inFlight(chunk: 2) + 1)
    #expect(outcome.makespan > PipelineTimeline(schedule).makespan)
  }

  @Test func lanesCollectedLateStayOpenAndEarlyOnesStall() throws {
    let schedule = Self.schedules[1]
    let collect = Instruction.collectTokenGradients(lane: 0)
    let place = try #require(schedule.instructions[2].firstIndex(of: collect))

    var late = ScheduleSimulator(schedule)
    late.instructions[2].removeAll { $0 == collect }
    let next = try #require(
      late.instructions[2].firstIndex(of: .collectTokenGradients(lane: 1)))
    late.instructions[2].insert(collect, at: next)
    #expect(try late.run().openLanes == schedule.openLanes + 1)

    var early = ScheduleSimulator(schedule)
    early.instructions[2].remove(at: place)
    let end = try #require(
      early.instructions[2].firstIndex(of: .sendGradient(microBatch: 1, chunk: 2)))
    early.instructions[2].insert(collect, at: end + 1)
    #expect(try early.run().stalledForTokens > 0)
  }

  private func isSameKind(_ first: Instruction, _ second: Instruction) -> Bool {
    switch (first, second) {
    case (.receiveActivation, .receiveActivation), (.forward, .forward),
      (.sendActivation, .sendActivation), (.receiveGradient, .receiveGradient),
      (.backward, .backward), (.sendGradient, .sendGradient),
      (.sendTokenGradients, .sendTokenGradients),
      (.collectTokenGradients, .collectTokenGradients):
      true
    default: false
    }
  }
}
