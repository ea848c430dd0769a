import Core
import Layers
import Models
import Tensors

/// A lane run chunk by chunk, as a pipeline would: all forwards, then all backwards; what crosses a
/// boundary is copied into the receiver's arena; each chunk has a gradient buffer of its own.
final class PipelineTwin {
  let model: Transformer
  let chunks: [ModelChunk]
  /// `gradients[chunk]` holds the chunk's parameters alone.
  private let gradients: [GradientBuffer]
  private let embeddingGradient: GradientBuffer
  /// `arenas[chunk][microBatch]`.
  private let arenas: [[Arena]]
  private let scratches: [Arena]
  private(set) var loss: [LossSum] = []
  /// The sections as they complete, for each micro-batch.
  private(set) var completed: [[Int]] = []
  /// The bytes of a section when it completed, of the last micro-batch.
  private(set) var atCompletion: [Int: [UInt32]] = [:]

  final class GradientBuffer {
    let range: Range<Int>
    private let storage: FloatBuffer

    init(_ range: Range<Int>) {
      self.range = range
      storage = FloatBuffer(count: range.count)
      storage.view.fill(.nan)
    }

    func target(accumulates: Bool) -> GradientTarget {
      GradientTarget(storage.view, origin: range.lowerBound, accumulates: accumulates)
    }

    func bits(_ part: Range<Int>) -> [UInt32] {
      target(accumulates: false).part(part).array.map(\.bitPattern)
    }
  }

  /// - Parameter cuts: block numbers where a new chunk begins, ascending, without 0.
  init(_ model: Transformer, cuts: [Int], bounds: BatchBounds, microBatches: Int) {
    self.model = model
    let ends = cuts + [model.blockCount]
    chunks = zip([0] + cuts, ends).map { model.chunk($0..<$1) }
    gradients = chunks.map { GradientBuffer($0.parameters) }
    embeddingGradient = GradientBuffer(model.layout.sections[model.embeddingSection].range)
    let capacities = chunks.map { $0.arenaCapacity(bounds) }
    arenas = capacities.map { capacity in
      (0..<microBatches).map { _ in Arena(capacity: capacity.saved) }
    }
    scratches = capacities.map { Arena(capacity: $0.scratch) }
  }

  /// Every gradient in layout order, as bits.
  var gradientBits: [UInt32] {
    gradients.flatMap { $0.bits($0.range) } + embeddingGradient.bits(embeddingGradient.range)
  }

  /// The most each chunk's arenas held: saved (of any micro-batch) and scratch.
  var peaks: [ArenaCapacity] {
    zip(arenas, scratches).map { arenas, scratch in
      ArenaCapacity(saved: arenas.map(\.peak).max() ?? 0, scratch: scratch.peak)
    }
  }

  func trainLane(
    _ batches: [MicroBatch], _ objective: ModelChunk.Objective, weights: Vector,
    dropout: Dropout, place: Pass.Place, bounds: BatchBounds
  ) {
    func pass(_ chunk: Int, _ microBatch: Int) -> Pass {
      var place = place
      place.microBatch = microBatch
      return Pass(
        weights: weights, arena: arenas[chunk][microBatch], scratch: scratches[chunk],
        dropout: dropout, place: place)
    }
    var saved: [[ModelChunk.Saved]] = Array(repeating: [], count: batches.count)
    for (index, batch) in batches.enumerated() {
      var travelling: [Matrix] = []
      for (number, chunk) in chunks.enumerated() {
        let pass = pass(number, index)
        pass.arena.reset()
        let input = receive(travelling, before: chunk.blocks.lowerBound, batch, pass.arena)
        saved[index].append(chunk.forward(batch, input: input, pass))
        travelling = saved[index][number].output
      }
    }
    let store = TokenGradientStore(model, copies: batches.count, bounds: bounds)
    for (index, batch) in batches.enumerated() {
      var travelling: [Matrix] = []
      completed.append([])
      for (number, chunk) in chunks.enumerated().reversed() {
        let pass = pass(number, index)
        let gradient = receive(travelling, before: chunk.blocks.upperBound, batch, pass.arena)
        let result = chunk.backward(
          batch, saved[index][number], outputGradient: gradient, pass,
          gradients[number].target(accumulates: index > 0),
          embeddingGradient: chunk.isLast
            ? embeddingGradient.target(accumulates: index > 0) : nil,
          objective: objective
        ) { section in
          completed[index].append(section)
          if index == batches.count - 1 {
            atCompletion[section] = gradients[number].bits(model.layout.sections[section].range)
          }
        }
        if chunk.isLast { loss.append(result.loss) }
        travelling = result.inputGradient
        for (side, rows) in result.tokenGradients {
          store.room(microBatch: index, side, rows: rows.rows).vector.copy(from: rows.vector)
        }
      }
    }
    store.add(batches, into: embeddingGradient.target(accumulates: true))
  }

  func evaluate(_ batch: MicroBatch, weights: Vector, smoothing: Float) -> LossSum {
    var travelling: [Matrix] = []
    var loss = LossSum()
    for (number, chunk) in chunks.enumerated() {
      let pass = Pass(
        evaluating: weights, arena: arenas[number][0], scratch: scratches[number])
      pass.arena.reset()
      let input = receive(travelling, before: chunk.blocks.lowerBound, batch, pass.arena)
      let saved = chunk.forward(batch, input: input, pass)
      travelling = saved.output
      if chunk.isLast { loss += chunk.loss(batch, saved, smoothing: smoothing, pass) }
    }
    return loss
  }

  private func receive(
    _ sent: [Matrix], before block: Int, _ batch: MicroBatch, _ arena: Arena
  ) -> [Matrix] {
    let room = model.boundaryMatrices(before: block, batch, in: arena)
    for (room, sent) in zip(room, sent) { room.vector.copy(from: sent.vector) }
    return room
  }
}
