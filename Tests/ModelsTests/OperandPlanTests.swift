import Core
import Foundation
import Layers
import Models
import Tensors
import Testing

/// The plan of rounded operands against what a pass has packed.
@Suite struct OperandPlanTests {
  private static let cpu: [String] = {
    let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    let line = text.split(separator: "\n").first { $0.hasPrefix("flags") } ?? ""
    return line.split(separator: " ").map(String.init)
  }()

  static let canBeUsed = cpu.contains("avx512_bf16")

  /// What is largest in a pass: the projection to queries, keys and values, the feed-forward layer,
  /// the scores of a long sentence, keys much wider than values, the logits.
  enum Largest: CaseIterable, Codable {
    case fused, feedForward, scores, keys, logits

    var shape: TransformerShape {
      var shape = TransformerShape(vocabularySize: self == .logits ? 1_000 : 50)
      shape.encoderLayers = 1
      shape.decoderLayers = 1
      shape.dimension = 40
      shape.feedForwardDimension = self == .feedForward ? 300 : 70
      shape.heads = self == .keys ? 1 : 2
      shape.keyDimension = self == .keys ? 150 : 33
      shape.valueDimension = self == .keys ? 5 : 35
      return shape
    }

    /// Lengths with the special token.
    var sentences: [Int] {
      switch self {
      case .scores: [500]
      case .keys: [300]
      case .fused, .feedForward, .logits: [100, 100, 100, 100, 100]
      }
    }
  }

  // In processes of their own: products are reduced for a whole process, and operands begin empty.
  @Test(
    .enabled(if: canBeUsed, "SKIPPED: needs a CPU with avx512_bf16"), arguments: Largest.allCases)
  func thePlanIsWhatTheWorstBatchTakes(largest: Largest) async {
    await #expect(processExitsWith: .success) { [largest] in
      try ReducedProducts.use(cpu: Self.cpu)
      let model = Transformer(largest.shape, longestSequence: 500)
      let weights = FloatBuffer(count: model.layout.count)
      let gradient = FloatBuffer(count: model.layout.count)
      model.layout.initialize(weights.view, seed: 1)
      let batch = MicroBatch(
        pairs: largest.sentences.map { length in
          let tokens = [Int32](repeating: 4, count: length - 1)
          return (source: tokens, target: tokens)
        })
      #expect(ReducedProducts.heldCount == 0)
      _ = model.train(
        batch, ModelChunk.Objective(smoothing: 0, gradientScale: 1),
        model.evaluatingPass(weights.view, for: batch),
        GradientTarget(gradient.view, accumulates: false))
      #expect(ReducedProducts.heldCount == model.operandCount(BatchBounds(batch)))
    }
  }
}
