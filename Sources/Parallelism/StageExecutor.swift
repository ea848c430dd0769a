import Core
import Layers
import Messaging
import Models
import Tensors

/// Runs the micro-batches of one replica through the chunks of this rank, as a schedule says, and
/// leaves the lane gradients where the exchange reads them.
package final class StageExecutor {
  /// What a step gives to every micro-batch.
  package struct Step {
    package var seed: UInt64
    package var number: Int
    /// The lanes of this replica.
    package var lanes: Range<Int>
    package var dropout: Dropout
    package var objective: ModelChunk.Objective

    package init(
      seed: UInt64, number: Int, lanes: Range<Int>, dropout: Dropout,
      objective: ModelChunk.Objective
    ) {
      self.seed = seed
      self.number = number
      self.lanes = lanes
      self.dropout = dropout
      self.objective = objective
    }
  }

  private struct Place: Hashable {
    let microBatch: Int
    let chunk: Int
  }

  private let messages: StageMessages
  private let plan: StagePlan
  private let weights: Vector
  /// This rank's gradients, laid out as `plan.layout`.
  private let gradients: Vector
  private let scratch: Arena
  private let memories: [Int: FlightMemory]
  private let collector: TokenGradientCollector?

  // Of the step that runs.
  private var batches: [MicroBatch] = []
  private var flights: [Place: MicroBatchFlight] = [:]
  /// What is through but for the messages that follow.
  private var over: [Place] = []
  private var expectedActivations: ArraySlice<Place> = []
  private var expectedGradients: ArraySlice<Place> = []

  /// Collective. Throws: what `shareNodeMemory` throws.
  package init(
    _ plan: StagePlan, bounds: BatchBounds, communicator: any Communicator, weights: Vector,
    gradients: Vector
  ) throws(Failure) {
    messages = try StageMessages(plan, bounds: bounds, communicator: communicator)
    self.plan = plan
    self.weights = weights
    self.gradients = gradients
    let capacities = plan.chunks.mapValues { $0.arenaCapacity(bounds) }
    scratch = Arena(capacity: capacities.values.map(\.scratch).max() ?? 0)
    memories = Dictionary(
      uniqueKeysWithValues: capacities.map { chunk, capacity in
        let count = plan.schedule.inFlight(chunk: chunk)
        return (chunk, FlightMemory(count: count, capacity: capacity.saved))
      })
    collector =
      plan.isLastStage
      ? TokenGradientCollector(plan, bounds: bounds, messages: messages) : nil
  }

  /// What activations, token gradients and messages within the node occupy.
  package var byteCount: Int {
    memories.values.reduce(0) { $0 + $1.byteCount } + scratch.capacity * 4
      + (collector?.byteCount ?? 0) + messages.byteCount
  }

  /// Forward and backward of all micro-batches of this replica.
  ///
  /// Collective over the stages of the replica. Writes: the lane gradients of the own sections.
  /// - Parameters:
  ///   - batches: of the replica's lanes in order; every stage has all of them.
  ///   - completed: called with a section once all lanes of this replica are in its partial sums.
  ///
  /// Returns: on the last stage the loss of each lane, elsewhere nothing.
  package func train(
    _ batches: [MicroBatch], _ step: Step, completed: (_ section: Int) throws(Failure) -> Void
  ) throws(Failure) -> [LossSum] {
    let schedule = plan.schedule
    precondition(batches.count == schedule.microBatches, "the micro-batches of the own lanes")
    var losses = [LossSum](repeating: LossSum(), count: plan.isLastStage ? schedule.lanes : 0)
    begin(batches, schedule)
    for instruction in schedule.instructions[plan.stage] {
      switch instruction {
      case .forward(let microBatch, let chunk):
        let place = Place(microBatch: microBatch, chunk: chunk)
        FaultPoint.forward.reached(step: step.number)
        try forward(place, pass: { self.pass(microBatch, step, $0) })
        if chunk == plan.lastChunk, microBatch.isMultiple(of: schedule.microBatchesPerLane) {
          try collector?.open(schedule.lane(of: microBatch), batches)
        }
      case .backward(let microBatch, let chunk):
        let place = Place(microBatch: microBatch, chunk: chunk)
        let loss = try backward(place, step, completed)
        if chunk == plan.lastChunk { losses[schedule.lane(of: microBatch)] += loss }
      case .collectTokenGradients(let lane):
        try collect(lane, step, completed)
      default:
        try transfer(instruction)
      }
    }
    try settle(drains: true)
    return losses
  }

  /// The losses of micro-batches under the current weights, without dropout or smoothing.
  ///
  /// Collective over the stages of the replica. Returns: on the last stage one loss a micro-batch,
  /// elsewhere nothing.
  package func evaluate(_ batches: [MicroBatch]) throws(Failure) -> [LossSum] {
    guard !batches.isEmpty else { return [] }
    let schedule = PipelineSchedule.evaluation(
      placement: plan.schedule.placement, microBatches: batches.count)
    var losses: [LossSum] = []
    begin(batches, schedule)
    for instruction in schedule.instructions[plan.stage] {
      guard case .forward(let microBatch, let chunk) = instruction else {
        try transfer(instruction)
        continue
      }
      let place = Place(microBatch: microBatch, chunk: chunk)
      let pass = { Pass(evaluating: self.weights, arena: $0, scratch: self.scratch) }
      try forward(place, pass: pass)
      if chunk == plan.lastChunk, let flight = flights[place], let saved = flight.saved {
        losses.append(
          model(chunk).loss(batches[microBatch], saved, smoothing: 0, pass(flight.arena)))
      }
      over.append(place)
    }
    try settle(drains: true)
    return losses
  }

  // MARK: Passes

  private func begin(_ batches: [MicroBatch], _ schedule: PipelineSchedule) {
    self.batches = batches
    let instructions = schedule.instructions[plan.stage]
    expectedActivations =
      instructions.compactMap { instruction in
        guard case .receiveActivation(let microBatch, let chunk) = instruction else { return nil }
        return Place(microBatch: microBatch, chunk: chunk)
      }[...]
    expectedGradients =
      instructions.compactMap { instruction in
        guard case .receiveGradient(let microBatch, let chunk) = instruction else { return nil }
        return Place(microBatch: microBatch, chunk: chunk)
      }[...]
  }

  private func pass(_ microBatch: Int, _ step: Step, _ arena: Arena) -> Pass {
    let each = plan.schedule.microBatchesPerLane
    return Pass(
      weights: weights, arena: arena, scratch: scratch, dropout: step.dropout,
      place: Pass.Place(
        seed: step.seed, step: step.number, lane: step.lanes.lowerBound + microBatch / each,
        microBatch: microBatch % each))
  }

  private func forward(_ place: Place, pass: (Arena) -> Pass) throws(Failure) {
    try settle()
    if flights[place] == nil { flights[place] = try memory(place.chunk).begin(waits: true) }
    try expectMore()
    let flight = flight(place)
    flight.saved = model(place.chunk).forward(
      batches[place.microBatch], input: flight.input, pass(flight.arena))
  }

  private func backward(
    _ place: Place, _ step: Step, _ completed: (_ section: Int) throws(Failure) -> Void
  ) throws(Failure) -> LossSum {
    try expectMore()
    let schedule = plan.schedule
    let flight = flight(place)
    guard let saved = flight.saved else { preconditionFailure("backward before forward") }
    let index = place.microBatch % schedule.microBatchesPerLane
    let lane = step.lanes.lowerBound + schedule.lane(of: place.microBatch)
    let isLaneEnd = index == schedule.microBatchesPerLane - 1
    func target(part: Int) -> GradientTarget {
      let part = plan.layout.gradient(of: lane, part: part, in: gradients)
      return GradientTarget(part.vector, origin: part.origin, accumulates: index > 0)
    }
    // The model does not throw: what goes wrong in the exchange waits until it is through.
    var failure: Failure?
    // Before the sections are handed on: whoever sums them must not miss it.
    let poisons = FaultPoint.backward.reached(step: step.number) == .nan
    let result = model(place.chunk).backward(
      batches[place.microBatch], saved, outputGradient: flight.outputGradient,
      pass(place.microBatch, step, flight.arena), target(part: plan.part(of: place.chunk)),
      embeddingGradient: place.chunk == plan.lastChunk ? target(part: plan.embeddingPart) : nil,
      objective: step.objective
    ) { section in
      if poisons {
        plan.layout.gradient(of: lane, part: plan.part(of: place.chunk), in: gradients)
          .vector.base[0] = .nan
      }
      guard isLaneEnd, failure == nil else { return }
      plan.layout.complete(lane, plan.sections[section], in: gradients)
      guard lane == step.lanes.upperBound - 1 else { return }
      do throws(Failure) { try completed(section) } catch { failure = error }
    }
    if let failure { throw failure }
    flight.result = result
    collector?.keep(result.tokenGradients, lane: schedule.lane(of: place.microBatch), index)
    over.append(place)
    return result.loss
  }

  private func collect(
    _ number: Int, _ step: Step, _ completed: (_ section: Int) throws(Failure) -> Void
  ) throws(Failure) {
    guard let collector else { return }
    let lane = step.lanes.lowerBound + number
    let part = plan.layout.gradient(of: lane, part: plan.embeddingPart, in: gradients)
    try collector.collect(
      number, batches,
      into: GradientTarget(part.vector, origin: part.origin, accumulates: true))
    let section = plan.sections.count - 1
    plan.layout.complete(lane, plan.sections[section], in: gradients)
    if lane == step.lanes.upperBound - 1 { try completed(section) }
  }

  // MARK: Messages

  private func transfer(_ instruction: PipelineSchedule.Instruction) throws(Failure) {
    switch instruction {
    case .receiveActivation(let microBatch, let chunk):
      let place = Place(microBatch: microBatch, chunk: chunk)
      try settle()
      while flights[place] == nil { _ = try expectActivation(waits: true) }
      try flight(place).inputArrival?.wait()
    case .sendActivation(let microBatch, let chunk):
      let flight = flight(Place(microBatch: microBatch, chunk: chunk))
      try send(
        flight, flight.saved?.output ?? [], to: plan.placement.nextStage(of: chunk), .activations)
    case .receiveGradient(let microBatch, let chunk):
      let flight = flight(Place(microBatch: microBatch, chunk: chunk))
      while flight.gradientArrival == nil { try expectGradient() }
      try flight.gradientArrival?.wait()
    case .sendGradient(let microBatch, let chunk):
      let flight = flight(Place(microBatch: microBatch, chunk: chunk))
      try send(
        flight, flight.result?.inputGradient ?? [], to: plan.placement.previousStage(of: chunk),
        .gradients)
    case .sendTokenGradients(let microBatch, let chunk):
      let flight = flight(Place(microBatch: microBatch, chunk: chunk))
      try send(
        flight, flight.result?.tokenGradients.map(\.rows) ?? [], to: plan.placement.lastStage,
        .tokenGradients(chunk: chunk))
    case .forward, .backward, .collectTokenGradients:
      preconditionFailure("a pass is not a message")
    }
  }

  private func send(
    _ flight: MicroBatchFlight, _ matrices: [Matrix], to stage: Int?,
    _ channel: StageMessages.Channel
  ) throws(Failure) {
    guard let stage else { preconditionFailure("the schedule sends to a stage that exists") }
    let transfers = matrices.map { Transfer.send($0.vector, to: plan.rank(ofStage: stage)) }
    flight.sends.append(try messages.start(transfers, channel))
  }

  /// Before a pass: whatever can arrive while it runs is made room for.
  private func expectMore() throws(Failure) {
    try settle()
    while let next = expectedGradients.first, flights[next]?.saved != nil { try expectGradient() }
    while try expectActivation(waits: false) {}
  }

  /// Starts to receive the next activations; false when there are none or no arena is free.
  private func expectActivation(waits: Bool) throws(Failure) -> Bool {
    guard let next = expectedActivations.first else { return false }
    guard let flight = try memory(next.chunk).begin(waits: waits) else { return false }
    expectedActivations.removeFirst()
    let blocks = model(next.chunk).blocks
    flight.input = plan.model.boundaryMatrices(
      before: blocks.lowerBound, batches[next.microBatch], in: flight.arena)
    flight.inputArrival = try receive(
      flight.input, from: plan.placement.previousStage(of: next.chunk), .activations)
    flights[next] = flight
    return true
  }

  /// Starts to receive the next gradients, behind what the forward pass of the same micro-batch
  /// keeps.
  private func expectGradient() throws(Failure) {
    guard let next = expectedGradients.popFirst() else {
      preconditionFailure("a gradient the schedule does not expect")
    }
    let flight = flight(next)
    precondition(flight.saved != nil, "gradients arrive behind the forward pass")
    flight.outputGradient = plan.model.boundaryMatrices(
      before: model(next.chunk).blocks.upperBound, batches[next.microBatch], in: flight.arena)
    flight.gradientArrival = try receive(
      flight.outputGradient, from: plan.placement.nextStage(of: next.chunk), .gradients)
  }

  private func receive(
    _ matrices: [Matrix], from stage: Int?, _ channel: StageMessages.Channel
  ) throws(Failure) -> any PendingTransfers {
    guard let stage else { preconditionFailure("the schedule receives from a stage that exists") }
    let rank = plan.rank(ofStage: stage)
    return try messages.start(matrices.map { .receive(into: $0.vector, from: rank) }, channel)
  }

  /// Gives the memory of what is over back, once nothing is sent from it any more.
  private func settle(drains: Bool = false) throws(Failure) {
    for place in over {
      guard let flight = flights.removeValue(forKey: place) else { continue }
      memory(place.chunk).end(flight)
    }
    over = []
    if drains { for memory in memories.values { try memory.drain() } }
  }

  // MARK: Look-ups that cannot fail

  private func flight(_ place: Place) -> MicroBatchFlight {
    guard let flight = flights[place] else {
      preconditionFailure("micro-batch \(place.microBatch) is not in chunk \(place.chunk)")
    }
    return flight
  }

  private func model(_ chunk: Int) -> ModelChunk {
    guard let model = plan.chunks[chunk] else {
      preconditionFailure("chunk \(chunk) is on another stage")
    }
    return model
  }

  private func memory(_ chunk: Int) -> FlightMemory {
    guard let memory = memories[chunk] else {
      preconditionFailure("chunk \(chunk) is on another stage")
    }
    return memory
  }
}
