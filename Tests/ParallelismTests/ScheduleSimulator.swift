import Parallelism

/// Executes the instructions of all stages, each stage in its order: sends are buffered, receives
/// block, messages of a channel arrive in the order of their sends. Knows nothing of how schedules
/// are made, only what makes one right.
struct ScheduleSimulator {
  typealias Instruction = PipelineSchedule.Instruction

  struct Violation: Error, CustomStringConvertible {
    let description: String
  }

  struct Outcome: Equatable {
    var makespan = 0
    var inFlight: [Int]
    var inFlightOfChunk: [Int]
    var openLanes = 0
    /// Time the last stage waited for token gradients while it had passes left to make.
    var stalledForTokens = 0
  }

  let stages: Int
  let chunks: Int
  let microBatches: Int
  let microBatchesPerLane: Int
  let tokenChunks: [Int]
  var instructions: [[Instruction]]

  init(_ schedule: PipelineSchedule) {
    stages = schedule.placement.stages
    chunks = stages * schedule.placement.chunksPerStage
    microBatches = schedule.microBatches
    microBatchesPerLane = schedule.microBatchesPerLane
    tokenChunks = schedule.tokenChunks
    instructions = schedule.instructions
  }

  /// Every stage as far as it gets, again and again, until all are done or all wait.
  ///
  /// - Parameter time: of a forward or backward pass on a stage; messages take none.
  func run(
    time: (_ stage: Int, Instruction) -> Int = { _, instruction in
      if case .forward = instruction { 1 } else { 2 }
    }
  ) throws(Violation) -> Outcome {
    var state = SimulatedStep(self)
    var next = [Int](repeating: 0, count: stages)
    var progressed = true
    while progressed {
      progressed = false
      for stage in 0..<stages {
        while next[stage] < instructions[stage].count {
          let instruction = instructions[stage][next[stage]]
          let passesLeft = instructions[stage][next[stage]...].contains(where: isPass)
          guard
            try state.execute(
              instruction, stage: stage,
              passTime: isPass(instruction) ? time(stage, instruction) : 0,
              hasPassesLeft: passesLeft)
          else { break }
          next[stage] += 1
          progressed = true
        }
      }
    }
    if let stage = (0..<stages).first(where: { next[$0] < instructions[$0].count }) {
      let instruction = instructions[stage][next[stage]]
      throw Violation(description: "stage \(stage) waits for ever in \(instruction)")
    }
    try state.checkCompleteness()
    return state.outcome
  }

  private func isPass(_ instruction: Instruction) -> Bool {
    switch instruction {
    case .forward, .backward: true
    default: false
    }
  }
}

/// What has happened so far.
private struct SimulatedStep {
  typealias Instruction = PipelineSchedule.Instruction
  typealias Violation = ScheduleSimulator.Violation

  enum Kind: Hashable {
    case activation, gradient
    case tokenGradients(chunk: Int)
  }
  struct Channel: Hashable {
    let from: Int
    let to: Int
    let kind: Kind
  }
  struct Message: Hashable {
    let microBatch: Int
    /// The chunk that takes an activation or gradient, or that sends token gradients.
    let chunk: Int
  }
  enum Deed: Hashable {
    case forward, backward, sendTokens
    case receive(Kind)
    case send(Kind)
  }
  struct Work: Hashable {
    let deed: Deed
    let microBatch: Int
    let chunk: Int
  }

  let rules: ScheduleSimulator
  let isTraining: Bool
  var outcome: ScheduleSimulator.Outcome
  private var clock: [Int]
  private var queues: [Channel: [(message: Message, sent: Int)]] = [:]
  private var done: Set<Work> = []
  private var live: [Int]
  private var liveOfChunk: [Int]
  private var openLanes: Set<Int> = []
  private var collectedLanes = 0

  init(_ rules: ScheduleSimulator) {
    self.rules = rules
    isTraining = !rules.tokenChunks.isEmpty
    clock = Array(repeating: 0, count: rules.stages)
    live = clock
    liveOfChunk = Array(repeating: 0, count: rules.chunks)
    outcome = .init(inFlight: live, inFlightOfChunk: liveOfChunk)
  }

  /// False when the stage has to wait.
  mutating func execute(
    _ instruction: Instruction, stage: Int, passTime: Int, hasPassesLeft: Bool
  ) throws(Violation) -> Bool {
    switch instruction {
    case .receiveActivation(let microBatch, let chunk):
      return try receive(.activation, microBatch, chunk, from: chunk - 1, at: stage)
    case .receiveGradient(let microBatch, let chunk):
      return try receive(.gradient, microBatch, chunk, from: chunk + 1, at: stage)
    case .sendActivation(let microBatch, let chunk):
      try need(.forward, microBatch, chunk)
      try send(.activation, microBatch, chunk, to: chunk + 1, at: stage)
    case .sendGradient(let microBatch, let chunk):
      try need(.backward, microBatch, chunk)
      try send(.gradient, microBatch, chunk, to: chunk - 1, at: stage)
    case .sendTokenGradients(let microBatch, let chunk):
      try need(.backward, microBatch, chunk)
      try check(rules.tokenChunks.contains(chunk), "chunk \(chunk) looks up no tokens")
      try record(.sendTokens, microBatch, chunk, at: stage)
      let channel = Channel(from: stage, to: rules.stages - 1, kind: .tokenGradients(chunk: chunk))
      try check(channel.from != channel.to, "stage \(stage) sends to itself")
      queues[channel, default: []].append(
        (Message(microBatch: microBatch, chunk: chunk), clock[stage]))
    case .forward(let microBatch, let chunk):
      try forward(microBatch, chunk, at: stage, time: passTime)
    case .backward(let microBatch, let chunk):
      try backward(microBatch, chunk, at: stage, time: passTime)
    case .collectTokenGradients(let lane):
      return try collect(lane, at: stage, hasPassesLeft: hasPassesLeft)
    }
    return true
  }

  private mutating func forward(
    _ microBatch: Int, _ chunk: Int, at stage: Int, time: Int
  ) throws(Violation) {
    if chunk > 0 {
      if rules.stages == 1 {
        try need(.forward, microBatch, chunk - 1)
      } else {
        try need(.receive(.activation), microBatch, chunk)
      }
    }
    try record(.forward, microBatch, chunk, at: stage)
    clock[stage] += time
    outcome.makespan = max(outcome.makespan, clock[stage])
    live[stage] += 1
    liveOfChunk[chunk] += 1
    outcome.inFlight[stage] = max(outcome.inFlight[stage], live[stage])
    outcome.inFlightOfChunk[chunk] = max(outcome.inFlightOfChunk[chunk], liveOfChunk[chunk])
    if !isTraining {
      live[stage] -= 1
      liveOfChunk[chunk] -= 1
    } else if chunk == rules.chunks - 1 {
      openLanes.insert(microBatch / rules.microBatchesPerLane)
      outcome.openLanes = max(outcome.openLanes, openLanes.count)
    }
  }

  private mutating func backward(
    _ microBatch: Int, _ chunk: Int, at stage: Int, time: Int
  ) throws(Violation) {
    try need(.forward, microBatch, chunk)
    if chunk < rules.chunks - 1 {
      if rules.stages == 1 {
        try need(.backward, microBatch, chunk + 1)
      } else {
        try need(.receive(.gradient), microBatch, chunk)
      }
    }
    if microBatch > 0 { try need(.backward, microBatch - 1, chunk) }
    try record(.backward, microBatch, chunk, at: stage)
    clock[stage] += time
    outcome.makespan = max(outcome.makespan, clock[stage])
    live[stage] -= 1
    liveOfChunk[chunk] -= 1
  }

  private mutating func collect(
    _ lane: Int, at stage: Int, hasPassesLeft: Bool
  ) throws(Violation) -> Bool {
    try check(stage == rules.stages - 1, "stage \(stage) collects")
    try check(lane == collectedLanes, "lane \(lane) is collected out of order")
    let microBatches = lane * rules.microBatchesPerLane..<(lane + 1) * rules.microBatchesPerLane
    for microBatch in microBatches { try need(.backward, microBatch, rules.chunks - 1) }
    var arrival = clock[stage]
    var used: [Channel] = []
    for chunk in rules.tokenChunks {
      if chunk % rules.stages == stage {
        for microBatch in microBatches { try need(.backward, microBatch, chunk) }
        continue
      }
      let channel = Channel(
        from: chunk % rules.stages, to: stage, kind: .tokenGradients(chunk: chunk))
      let queue = queues[channel, default: []].prefix(microBatches.count)
      guard queue.count == microBatches.count else { return false }
      try check(queue.map(\.message.microBatch) == Array(microBatches), "token gradients mixed up")
      arrival = max(arrival, queue.map(\.sent).max() ?? 0)
      used.append(channel)
    }
    for channel in used { queues[channel]?.removeFirst(microBatches.count) }
    if hasPassesLeft { outcome.stalledForTokens += arrival - clock[stage] }
    clock[stage] = arrival
    collectedLanes += 1
    openLanes.remove(lane)
    return true
  }

  // MARK: Messages and rules

  private mutating func send(
    _ kind: Kind, _ microBatch: Int, _ chunk: Int, to other: Int, at stage: Int
  ) throws(Violation) {
    try check(0..<rules.chunks ~= other, "a message to nowhere")
    try record(.send(kind), microBatch, chunk, at: stage)
    let channel = Channel(from: stage, to: other % rules.stages, kind: kind)
    try check(channel.from != channel.to, "stage \(stage) sends to itself")
    queues[channel, default: []].append(
      (Message(microBatch: microBatch, chunk: other), clock[stage]))
  }

  private mutating func receive(
    _ kind: Kind, _ microBatch: Int, _ chunk: Int, from other: Int, at stage: Int
  ) throws(Violation) -> Bool {
    try check(0..<rules.chunks ~= other, "a message from nowhere")
    let channel = Channel(from: other % rules.stages, to: stage, kind: kind)
    guard let first = queues[channel]?.first else { return false }
    try check(
      first.message == Message(microBatch: microBatch, chunk: chunk),
      "stage \(stage) expects \(kind) \(microBatch) for chunk \(chunk), gets \(first.message)")
    queues[channel]?.removeFirst()
    clock[stage] = max(clock[stage], first.sent)
    try record(.receive(kind), microBatch, chunk, at: stage)
    return true
  }

  private mutating func record(
    _ deed: Deed, _ microBatch: Int, _ chunk: Int, at stage: Int
  ) throws(Violation) {
    try check(chunk % rules.stages == stage, "chunk \(chunk) is not on stage \(stage)")
    let isNew = done.insert(Work(deed: deed, microBatch: microBatch, chunk: chunk)).inserted
    try check(isNew, "\(deed) of micro-batch \(microBatch) in chunk \(chunk) happens twice")
  }

  private func need(_ deed: Deed, _ microBatch: Int, _ chunk: Int) throws(Violation) {
    let isDone = done.contains(Work(deed: deed, microBatch: microBatch, chunk: chunk))
    try check(isDone, "no \(deed) of micro-batch \(microBatch) in chunk \(chunk) yet")
  }

  private func check(
    _ condition: Bool, _ message: @autoclosure () -> String
  ) throws(Violation) {
    if !condition { throw Violation(description: message()) }
  }

  func checkCompleteness() throws(Violation) {
    for microBatch in 0..<rules.microBatches {
      for chunk in 0..<rules.chunks {
        try need(.forward, microBatch, chunk)
        if isTraining { try need(.backward, microBatch, chunk) }
      }
    }
    try check(queues.values.allSatisfy(\.isEmpty), "a message is never received")
    let lanes = isTraining ? rules.microBatches / rules.microBatchesPerLane : 0
    try check(collectedLanes == lanes, "\(collectedLanes) of \(lanes) lanes are collected")
  }
}
