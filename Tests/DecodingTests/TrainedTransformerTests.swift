import Core
import Decoding
import Models
import Tensors
import Testing

@Suite struct TrainedTransformerTests {
  private static func model(_ positions: TransformerShape.Positions) -> TrainedTransformer {
    var shape = TransformerShape(vocabularySize: 19)
    shape.encoderLayers = 1
    shape.decoderLayers = 2
    shape.dimension = 12
    shape.feedForwardDimension = 14
    shape.heads = 3
    shape.keyDimension = 4
    shape.valueDimension = 5
    shape.positions = positions
    shape.maximumLength = 9
    let layout = Transformer(shape).layout
    let weights = FloatBuffer(count: layout.count)
    layout.initialize(weights.view, seed: 5)
    return TrainedTransformer(shape, weights: weights)
  }

  /// The log-probability a search reports is what the whole-target forward pass says of its result.
  @Test(arguments: TransformerShape.Positions.allCases, [1, 3])
  func searchAndLossAgree(positions: TransformerShape.Positions, beamWidth: Int) throws {
    let model = Self.model(positions)
    let sources: [[Int32]] = [[5, 6, 7, 2], [9, 2], [3, 3, 3, 18, 17, 16, 2]]
    var search = BeamSearch()
    search.beamWidth = beamWidth
    search.lengthOffset = 6
    search.maximumLength = model.maximumLength
    let lengths = sources.map(\.count)
    let steps = lengths.map(search.stepLimit).max() ?? 0
    let session = model.session(
      sources: PackedSequences(sources),
      limits: .init(hypotheses: sources.count * beamWidth, steps: steps))
    let found = try search.search(session, sourceLengths: lengths)
    for (source, hypotheses) in zip(sources, found) {
      let tokens = hypotheses[0].tokens + (hypotheses[0].isComplete ? [SpecialToken.end] : [])
      let loss = model.loss(
        MicroBatch(
          source: PackedSequences([source]),
          targetInput: PackedSequences([[SpecialToken.begin] + tokens.dropLast()]),
          targetOutput: tokens))
      #expect(abs(loss.negativeLogLikelihood + hypotheses[0].logProbability) < 1e-4)
      #expect(hypotheses[0].tokens.count <= 9 || positions == .sinusoidal)
    }
  }

  @Test func sinusoidsGrowWithTheSentenceAndChangeNothingElse() {
    let model = Self.model(.sinusoidal)
    let short = MicroBatch(pairs: [(source: [3, 4], target: [5])])
    let before = model.loss(short)
    let long = MicroBatch(pairs: [
      (source: Array(repeating: 7, count: 300), target: Array(repeating: 8, count: 700))
    ])
    #expect(model.loss(long).negativeLogLikelihood.isFinite)
    #expect(model.loss(short) == before)
  }
}
