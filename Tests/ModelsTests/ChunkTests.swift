import Core
import Layers
import Models
import Tensors
import Testing

/// Where a model is cut changes no bit.
@Suite struct ChunkTests {
  enum Variant: CaseIterable {
    case paper, preNorm, learnedPositions, everything
    var shape: TransformerShape {
      var shape = TransformerShape(vocabularySize: 23)
      shape.encoderLayers = 3
      shape.decoderLayers = 2
      shape.dimension = 6
      shape.feedForwardDimension = 10
      shape.heads = 3
      shape.keyDimension = 2
      shape.valueDimension = 5
      shape.maximumLength = 12
      if self == .preNorm || self == .everything { shape.norm = .pre }
      if self == .learnedPositions || self == .everything { shape.positions = .learned }
      if self == .everything { shape.attentionBias = true }
      return shape
    }
  }

  /// All ways to cut five blocks into one to five chunks.
  static let cuts = (0..<16).map { bits in (1...4).filter { bits >> ($0 - 1) & 1 == 1 } }

  static let batches = [
    GradientTests.batch,
    MicroBatch(pairs: [
      (source: [20, 3, 3, 4, 19, 18, 17], target: [6]), (source: [], target: [5, 5, 9, 21]),
    ]),
  ]

  /// Bounds of every batch.
  private static var bounds: BatchBounds {
    let tokens = batches.map { max($0.source.tokens.count, $0.targetInput.tokens.count) }.max()
    return BatchBounds(tokens: tokens ?? 0, longest: 8)
  }

  @Test(arguments: Variant.allCases, [Float(0), 0.3])
  func everyCutGivesTheBitsOfTheWhole(variant: Variant, dropout: Float) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 3)
    let place = Pass.Place(seed: 11, step: 7, lane: 3)
    let objective = ModelChunk.Objective(smoothing: 0.1, gradientScale: 0.125)

    let gradient = FloatBuffer(count: model.layout.count)
    gradient.view.fill(.nan)
    let capacity = model.arenaCapacity(Self.bounds)
    let arena = Arena(capacity: capacity.saved)
    let scratch = Arena(capacity: capacity.scratch)
    let loss = model.trainLane(
      Self.batches, objective, GradientTarget(gradient.view, accumulates: false),
      TokenGradientStore(model, copies: 1, bounds: Self.bounds)
    ) { index in
      var place = place
      place.microBatch = index
      return Pass(
        weights: weights.view, arena: arena, scratch: scratch,
        dropout: Dropout(probability: dropout), place: place)
    }
    let expected = gradient.view.array.map(\.bitPattern)
    let isFinite = gradient.view.array.allSatisfy { $0.isFinite }
    #expect(isFinite)

    for cuts in Self.cuts {
      let twin = PipelineTwin(
        model, cuts: cuts, bounds: Self.bounds, microBatches: Self.batches.count)
      twin.trainLane(
        Self.batches, objective, weights: weights.view, dropout: Dropout(probability: dropout),
        place: place, bounds: Self.bounds)
      var sum = LossSum()
      for part in twin.loss { sum += part }
      #expect(sum == loss, "cut at \(cuts)")
      #expect(twin.gradientBits == expected, "cut at \(cuts)")
      #expect(twin.completed == Array(repeating: [4, 3, 2, 1, 0], count: 2), "cut at \(cuts)")
      for (section, bits) in twin.atCompletion {
        let range = model.layout.sections[section].range
        #expect(bits == Array(expected[range]), "section \(section), cut at \(cuts)")
      }
    }
  }

  @Test(arguments: Variant.allCases)
  func everyCutEvaluatesAsTheWhole(variant: Variant) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 4)
    let batch = Self.batches[0]
    let whole = model.evaluate(
      batch, smoothing: 0, model.evaluatingPass(weights.view, for: batch))
    for cuts in Self.cuts {
      let twin = PipelineTwin(model, cuts: cuts, bounds: Self.bounds, microBatches: 1)
      #expect(twin.evaluate(batch, weights: weights.view, smoothing: 0) == whole)
    }
  }

  /// The oracle can fail: the token gradients of the first micro-batch before the loss of the
  /// second, another order of the same sums, are other bits.
  @Test func anotherOrderOfTheEmbeddingsSumHasOtherBits() {
    let model = Transformer(Variant.paper.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 3)
    let objective = ModelChunk.Objective(smoothing: 0.1, gradientScale: 0.125)
    let lane = FloatBuffer(count: model.layout.count)
    let separate = FloatBuffer(count: model.layout.count)
    let capacity = model.arenaCapacity(Self.bounds)
    let pass = Pass(
      evaluating: weights.view, arena: Arena(capacity: capacity.saved),
      scratch: Arena(capacity: capacity.scratch))
    _ = model.trainLane(
      Self.batches, objective, GradientTarget(lane.view, accumulates: false),
      TokenGradientStore(model, copies: 1, bounds: Self.bounds)
    ) { _ in pass }
    for (index, batch) in Self.batches.enumerated() {
      _ = model.train(
        batch, objective, pass, GradientTarget(separate.view, accumulates: index > 0))
    }
    let embedding = model.layout.sections[model.embeddingSection].range
    let blocks = 0..<embedding.lowerBound
    #expect(lane.view[blocks].array == separate.view[blocks].array)
    #expect(lane.view[embedding].array != separate.view[embedding].array)
  }

  /// On a batch that reaches the bounds every chunk takes exactly what is planned.
  @Test(arguments: Variant.allCases)
  func thePlanIsWhatTheWorstBatchTakes(variant: Variant) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 1)
    let pairs = (0..<20).map { _ in
      (source: [Int32](repeating: 4, count: 7), target: [Int32](repeating: 5, count: 7))
    }
    let bounds = BatchBounds(tokens: 160, longest: 8)
    for cuts in Self.cuts {
      let twin = PipelineTwin(model, cuts: cuts, bounds: bounds, microBatches: 1)
      twin.trainLane(
        [MicroBatch(pairs: pairs)], ModelChunk.Objective(smoothing: 0, gradientScale: 1),
        weights: weights.view, dropout: Dropout(probability: 0.1), place: Pass.Place(),
        bounds: bounds)
      let planned = twin.chunks.map { $0.arenaCapacity(bounds) }
      #expect(twin.peaks == planned, "cut at \(cuts)")
    }
  }

  /// Chunks divide the blocks' parameters, in order and without gaps; the embedding is left.
  @Test(arguments: Variant.allCases)
  func chunksDivideTheParameters(variant: Variant) {
    let model = Transformer(variant.shape)
    for cuts in Self.cuts {
      let twin = PipelineTwin(model, cuts: cuts, bounds: BatchBounds(), microBatches: 0)
      var next = 0
      for chunk in twin.chunks {
        #expect(chunk.parameters.lowerBound == next)
        next = chunk.parameters.upperBound
      }
      #expect(next..<model.layout.count == model.layout["embedding/weight"]?.range)
      let sources = twin.chunks.map { $0.holdsSourceEmbedding ? 1 : 0 }
      let targets = twin.chunks.map { $0.holdsTargetEmbedding ? 1 : 0 }
      #expect(sources.reduce(0, +) == 1)
      #expect(targets.reduce(0, +) == 1)
    }
  }

  @Test func boundariesAreTheRowsThatTravel() {
    let model = Transformer(Variant.paper.shape)
    let rows = (0...5).map { model.boundary(before: $0, sourceTokens: 7, targetTokens: 9) }
    #expect(rows == [[], [7], [7], [7], [9, 7], []])
  }
}
