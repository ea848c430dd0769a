/// Makes instructions of passes: adds the messages between the stages, and on the last stage the
/// collection of token gradients.
///
/// A lane is collected at the first moment at which its token gradients have been sent for certain,
/// however fast or slow the stages are: when the last stage has received a message that another
/// stage sent only after them. In 1F1B that is the activation `stages` micro-batches later. So the
/// last stage never waits for token gradients while it has other work, and holds no embedding
/// gradient longer than that. Lanes without such a message are collected at the end.
struct InstructionTranslation {
  typealias Instruction = PipelineSchedule.Instruction

  private let order: PipelineOrder
  private let lanes: Int
  private let tokenChunks: [Int]
  /// The last stage's lanes that become collectable just before and just after each of its passes:
  /// how many of them in all.
  private let collectable: [(before: Int, after: Int)]

  init(order: PipelineOrder, lanes: Int, microBatchesPerLane: Int, tokenChunks: [Int]) {
    self.order = order
    self.lanes = lanes
    self.tokenChunks = tokenChunks
    collectable = Self.collectable(
      order, lanes: lanes, microBatchesPerLane: microBatchesPerLane, tokenChunks: tokenChunks)
  }

  func instructions(stage: Int) -> [Instruction] {
    let isLast = stage == order.placement.lastStage && !tokenChunks.isEmpty
    var instructions: [Instruction] = []
    var collected = 0
    func collect(_ count: Int) {
      guard isLast, collected < count else { return }
      instructions += (collected..<count).map { .collectTokenGradients(lane: $0) }
      collected = count
    }
    for (index, pass) in order.passes[stage].enumerated() {
      instructions += receives(for: pass)
      if isLast { collect(collectable[index].before) }
      instructions += work(of: pass, stage: stage)
      if isLast { collect(collectable[index].after) }
    }
    collect(lanes)
    return instructions
  }

  private func receives(for pass: PipelinePass) -> [Instruction] {
    guard order.remoteInput(of: pass) != nil else { return [] }
    let (microBatch, chunk) = (pass.microBatch, pass.chunk)
    return switch pass.direction {
    case .forward: [.receiveActivation(microBatch: microBatch, chunk: chunk)]
    case .backward: [.receiveGradient(microBatch: microBatch, chunk: chunk)]
    }
  }

  /// The pass and its sends: first what another stage waits for.
  private func work(of pass: PipelinePass, stage: Int) -> [Instruction] {
    let placement = order.placement
    let (microBatch, chunk) = (pass.microBatch, pass.chunk)
    var instructions: [Instruction] = []
    switch pass.direction {
    case .forward:
      instructions.append(.forward(microBatch: microBatch, chunk: chunk))
      if placement.nextStage(of: chunk) != nil {
        instructions.append(.sendActivation(microBatch: microBatch, chunk: chunk))
      }
    case .backward:
      instructions.append(.backward(microBatch: microBatch, chunk: chunk))
      if placement.previousStage(of: chunk) != nil {
        instructions.append(.sendGradient(microBatch: microBatch, chunk: chunk))
      }
      if tokenChunks.contains(chunk), stage != placement.lastStage {
        instructions.append(.sendTokenGradients(microBatch: microBatch, chunk: chunk))
      }
    }
    return instructions
  }

  /// Follows what is known to have happened from pass to pass: for each stage a count of passes.
  private static func collectable(
    _ order: PipelineOrder, lanes: Int, microBatchesPerLane: Int, tokenChunks: [Int]
  ) -> [(before: Int, after: Int)] {
    let placement = order.placement
    /// Where each lane's last backward pass through each token chunk stands.
    let ends = (0..<lanes).map { lane in
      tokenChunks.map { chunk in
        let stage = placement.stage(of: chunk)
        let last = PipelinePass(
          .backward, microBatch: (lane + 1) * microBatchesPerLane - 1, chunk: chunk)
        return (stage: stage, index: order.passes[stage].firstIndex(of: last) ?? .max)
      }
    }
    var known = [[Int]](
      repeating: Array(repeating: 0, count: placement.stages), count: placement.stages)
    var knownAfter: [PipelinePass: [Int]] = [:]
    var collectable: [(before: Int, after: Int)] = []
    var ready = 0
    order.forEachPass { stage, index, pass in
      if let input = order.remoteInput(of: pass), let others = knownAfter[input] {
        known[stage] = zip(known[stage], others).map(max)
      }
      func readyLanes() -> Int {
        while ready < lanes, ends[ready].allSatisfy({ $0.index < known[stage][$0.stage] }) {
          ready += 1
        }
        return ready
      }
      let before = stage == placement.lastStage ? readyLanes() : 0
      known[stage][stage] = index + 1
      knownAfter[pass] = known[stage]
      if stage == placement.lastStage { collectable.append((before, readyLanes())) }
    }
    return collectable
  }
}
