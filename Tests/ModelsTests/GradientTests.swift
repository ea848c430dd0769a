import Core
import Layers
import Models
import Tensors
import Testing

/// The fast model in Float against its naive twin in Double.
@Suite struct GradientTests {
  enum Variant: CaseIterable {
    case paper, preNorm, learnedPositions, attentionBias, noLayers, wide
    var shape: TransformerShape {
      var shape = TransformerShape(vocabularySize: 23)
      shape.encoderLayers = 2
      shape.decoderLayers = 2
      shape.dimension = 6
      shape.feedForwardDimension = 10
      shape.heads = 3
      shape.keyDimension = 2
      shape.valueDimension = 5
      shape.maximumLength = 12
      switch self {
      case .paper: break
      case .preNorm: shape.norm = .pre
      case .learnedPositions: shape.positions = .learned
      case .attentionBias:
        shape.attentionBias = true
        shape.norm = .pre
      case .noLayers:
        shape.encoderLayers = 0
        shape.decoderLayers = 1
      case .wide:
        // Rows longer than one SIMD vector, with a tail.
        shape.dimension = 38
        shape.feedForwardDimension = 50
        shape.encoderLayers = 1
        shape.decoderLayers = 1
        shape.heads = 1
        shape.keyDimension = 33
        shape.valueDimension = 17
      }
      return shape
    }
  }

  static let batch = MicroBatch(pairs: [
    (source: [5, 6, 7], target: [8, 9]),
    (source: [3], target: [22, 4, 11, 12, 5]),
    (source: [10, 11, 12, 13, 14, 15, 16], target: []),
    (source: [8, 8], target: [8, 8, 8]),
  ])

  /// Every gradient of the whole model equals the central difference of the twin's loss, to Float
  /// accuracy.
  @Test(arguments: Variant.allCases, [Float(0), 0.3])
  func everyGradientMatchesCentralDifferences(variant: Variant, dropout: Float) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let count = model.layout.count
    let weights = FloatBuffer(count: count)
    let gradient = FloatBuffer(count: count)
    gradient.view.fill(.nan)
    model.layout.initialize(weights.view, seed: 3)
    // Zero biases and unit scales hide errors: move everything off its special value.
    let stream = RandomStream(seed: 9, purpose: .sampling, site: 0)
    for i in 0..<count { weights.view.base[i] += Float(stream.uniform(at: i) - 0.5) * 0.2 }
    let place = Pass.Place(seed: 11, step: 7, lane: 3, microBatch: 1)
    let scale: Float = 0.125
    let arenas = model.whole.arenas(for: Self.batch)
    let loss = model.train(
      Self.batch, ModelChunk.Objective(smoothing: 0.1, gradientScale: scale),
      Pass(
        weights: weights.view, arena: arenas.saved, scratch: arenas.scratch,
        dropout: Dropout(probability: dropout), place: place),
      GradientTarget(gradient.view, accumulates: false))

    let twin = ReferenceTransformer(model, dropout: dropout, place: place)
    var values = weights.view.array.map(Double.init)
    let expected = twin.loss(Self.batch, weights: values, smoothing: Double(Float(0.1)))
    #expect(abs(loss.smoothed - expected) < 1e-5 * expected)
    #expect(loss.tokens == Self.batch.targetOutput.count)

    var worst = 0.0
    var worstPlace = ""
    for entry in model.layout.entries {
      // Every element of small tensors, a spread of the larger ones.
      for i in stride(from: 0, to: entry.count, by: max(1, entry.count / 40)) {
        let index = entry.offset + i
        let h = 1e-5
        let original = values[index]
        values[index] = original + h
        let above = twin.loss(Self.batch, weights: values, smoothing: Double(Float(0.1)))
        values[index] = original - h
        let below = twin.loss(Self.batch, weights: values, smoothing: Double(Float(0.1)))
        values[index] = original
        let difference = Double(scale) * (above - below) / (2 * h)
        let error = abs(difference - Double(gradient.view.base[index])) / (abs(difference) + 1e-2)
        // NaN, an element nobody wrote, is the worst for good.
        if error > worst || error.isNaN {
          worst = error
          worstPlace = "\(entry.name)[\(i)]: \(gradient.view.base[index]) for \(difference)"
        }
      }
    }
    #expect(worst < 2e-4, "\(worstPlace)")
  }

  /// A second micro-batch of the same lane adds to the first's gradient.
  @Test func accumulatedGradientIsTheSumOfBoth() {
    let model = Transformer(Variant.preNorm.shape, longestSequence: 12)
    let count = model.layout.count
    let weights = FloatBuffer(count: count)
    model.layout.initialize(weights.view, seed: 3)
    let once = FloatBuffer(count: count)
    let twice = FloatBuffer(count: count)
    once.view.fill(.nan)
    let pass = model.evaluatingPass(weights.view, for: Self.batch)
    for (target, accumulates) in [(once.view, false), (twice.view, false), (twice.view, true)] {
      _ = model.train(
        Self.batch, ModelChunk.Objective(smoothing: 0.1, gradientScale: 1), pass,
        GradientTarget(target, accumulates: accumulates))
    }
    for (one, two) in zip(once.view.array, twice.view.array) {
      #expect(abs(two - 2 * one) <= 1e-5 * max(1, abs(two)))
    }
  }

  /// One weight that is no number, wherever it is, reaches the loss and the gradient, by which the
  /// guard decides; so do scores beyond what a float holds.
  @Test(arguments: [Variant.paper, .learnedPositions, .attentionBias])
  func noWeightHidesWhatIsNoNumber(variant: Variant) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    let gradient = FloatBuffer(count: model.layout.count)
    /// Of the loss and of the gradient.
    func areFinite(_ entry: ParameterEntry, _ change: (Vector) -> Void) -> [Bool] {
      model.layout.initialize(weights.view, seed: 3)
      change(weights.view[entry.range])
      let loss = model.train(
        Self.batch, ModelChunk.Objective(smoothing: 0.1, gradientScale: 0.125),
        model.evaluatingPass(weights.view, for: Self.batch),
        GradientTarget(gradient.view, accumulates: false))
      return [loss.smoothed.isFinite, gradient.view.array.allSatisfy { $0.isFinite }]
    }
    for entry in model.layout.entries {
      #expect(areFinite(entry) { _ in } == [true, true])
      #expect(areFinite(entry) { $0.base[0] = .nan } == [false, false], "\(entry.name)")
      guard entry.name.hasSuffix("query/weight") else { continue }
      let overflowing = areFinite(entry) { for i in 0..<$0.count { $0.base[i] *= 3e38 } }
      #expect(overflowing == [false, false], "\(entry.name)")
    }
  }

  /// What a decoder predicts at a position depends on no later target token, though all run through
  /// it at once.
  @Test func aTargetTokenChangesNoEarlierOutput() {
    let model = Transformer(Variant.paper.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 5)
    func predictions(_ target: [Int32]) -> [Double] {
      (0...target.count).map { position in
        // Two losses of the whole target that want different tokens at one position alone: their
        // difference is that of the two tokens' logits there.
        let losses = [Int32(3), 14].map { token in
          var batch = MicroBatch(pairs: [(source: [5, 6, 7], target: target)])
          batch.targetOutput[position] = token
          return model.evaluate(
            batch, smoothing: 0, model.evaluatingPass(weights.view, for: batch)
          ).smoothed
        }
        return losses[0] - losses[1]
      }
    }
    let base: [Int32] = [8, 9, 10, 11]
    let reference = predictions(base)
    for t in base.indices {
      var changed = base
      changed[t] = 20
      let differences = zip(predictions(changed), reference).map { abs($0 - $1) }
      // Input t + 1 (behind begin-of-sequence) carries token t.
      for (position, difference) in differences.enumerated() {
        #expect(position <= t ? difference < 1e-12 : difference > 1e-6, "\(position) of \(t)")
      }
    }
  }
}

@Suite struct ParameterCountTests {
  /// The architecture's equation for the rows of the paper's table 3, at a vocabulary of 37,000,
  /// without attention biases, with a shared embedding. The table prints rounded counts that differ
  /// for some rows.
  @Test(arguments: [
    ("base", 63_045_632), ("big", 214_171_648), ("N=2", 33_644_544), ("N=4", 48_345_088),
    ("N=8", 77_746_176), ("d=256", 26_816_512), ("d=1024", 163_815_424), ("ff=1024", 50_450_432),
    ("ff=4096", 88_236_032), ("dk=16", 55_967_744), ("dk=32", 58_327_040),
    ("bias", 63_082_496),
  ])
  func parameterCountsFollowTheEquation(row: String, expected: Int) {
    var shape = TransformerShape(vocabularySize: 37_000)
    func layers(_ n: Int) { (shape.encoderLayers, shape.decoderLayers) = (n, n) }
    func width(_ d: Int) {
      shape.dimension = d
      (shape.keyDimension, shape.valueDimension) = (d / shape.heads, d / shape.heads)
    }
    switch row {
    case "big":
      width(1024)
      shape.feedForwardDimension = 4096
      shape.heads = 16
      (shape.keyDimension, shape.valueDimension) = (64, 64)
    case "N=2": layers(2)
    case "N=4": layers(4)
    case "N=8": layers(8)
    case "d=256": width(256)
    case "d=1024": width(1024)
    case "ff=1024": shape.feedForwardDimension = 1024
    case "ff=4096": shape.feedForwardDimension = 4096
    case "dk=16": shape.keyDimension = 16
    case "dk=32": shape.keyDimension = 32
    case "bias": shape.attentionBias = true
    default: break
    }
    #expect(Transformer(shape).layout.count == expected)
  }
}
