import Core
import Foundation
import Layers
import Models
import Tensors
import Testing

/// The model against an independent one: `Tests/Reference/torch_transformer.py`.
@Suite struct TorchReferenceTests {
  static let variants = ["paper", "pre-norm", "learned-positions", "attention-bias"]

  @Test(arguments: variants)
  func tensorsAreTheRecordedOnes(variant: String) throws {
    let recorded = try TorchRecord.read(variant)
    let layout = Transformer(recorded.transformerShape).layout
    #expect(layout.entries.count == recorded.parameters.count)
    for parameter in recorded.parameters {
      #expect(layout[parameter.name]?.shape == parameter.shape, "\(parameter.name)")
    }
  }

  /// The naive twin in Double and PyTorch's float64 agree far below Float's rounding.
  @Test(arguments: variants)
  func twinHasPyTorchsLoss(variant: String) throws {
    let recorded = try TorchRecord.read(variant)
    let model = Transformer(recorded.transformerShape, longestSequence: 12)
    let batch = recorded.microBatches[0]
    let loss = ReferenceTransformer(model).loss(
      batch, weights: recorded.initial.map(Double.init), smoothing: recorded.labelSmoothing)
    #expect(abs(loss / Double(batch.targetOutput.count) - recorded.loss) < 1e-7)
  }

  @Test(arguments: variants)
  func lossAndEveryGradientArePyTorchs(variant: String) throws {
    let recorded = try TorchRecord.read(variant)
    let run = TorchComparison(recorded)
    let (loss, gradient) = run.step(recorded.microBatches[0])
    #expect(abs(loss - recorded.loss) < 2e-6)
    let errors = zip(gradient, recorded.gradient).map { abs(Double($0) - $1) }
    // Written so that NaN fails; a maximum would pass over it.
    let wrong = errors.indices.filter { !(errors[$0] < 2e-6) }
    #expect(wrong.isEmpty, "\(wrong.first.map(run.name) ?? "")")
  }

  /// Ten steps of Adam under Noam's schedule: every loss, and every parameter whose gradient is not
  /// zero by symmetry (a key bias only has rounding noise, which Adam scales up).
  @Test(arguments: variants)
  func tenStepsArePyTorchs(variant: String) throws {
    let recorded = try TorchRecord.read(variant)
    let run = TorchComparison(recorded)
    let batches = recorded.microBatches
    for (index, rate) in recorded.learningRates.enumerated() {
      let (loss, gradient) = run.step(batches[index % batches.count])
      #expect(abs(loss - recorded.stepLosses[index]) < 5e-6, "step \(index + 1)")
      run.adam(gradient, rate: rate)
    }
    for entry in run.model.layout.entries where !entry.name.hasSuffix("key/bias") {
      for index in entry.range {
        #expect(abs(run.weights.view.base[index] - recorded.final[index]) < 2e-4, "\(entry.name)")
      }
    }
  }
}

/// A model that starts at the recorded parameters, and a plain Adam in Double.
private final class TorchComparison {
  let model: Transformer
  let weights: FloatBuffer
  private let gradient: FloatBuffer
  private let recorded: TorchRecord
  private var first: [Double]
  private var second: [Double]
  private var stepCount = 0

  init(_ recorded: TorchRecord) {
    self.recorded = recorded
    model = Transformer(recorded.transformerShape, longestSequence: 12)
    weights = FloatBuffer(count: model.layout.count)
    gradient = FloatBuffer(count: model.layout.count)
    for (index, value) in recorded.initial.enumerated() { weights.view.base[index] = value }
    first = Array(repeating: 0, count: model.layout.count)
    second = first
  }

  func step(_ batch: MicroBatch) -> (loss: Double, gradient: [Float]) {
    gradient.view.fill(.nan)
    let loss = model.train(
      batch,
      ModelChunk.Objective(
        smoothing: Float(recorded.labelSmoothing),
        gradientScale: 1 / Float(batch.targetOutput.count)),
      model.evaluatingPass(weights.view, for: batch),
      GradientTarget(gradient.view, accumulates: false))
    return (loss.smoothed / Double(loss.tokens), gradient.view.array)
  }

  func adam(_ gradient: [Float], rate: Double) {
    stepCount += 1
    let (beta1, beta2) = (recorded.adam.beta1, recorded.adam.beta2)
    for (index, g) in gradient.map(Double.init).enumerated() {
      first[index] = beta1 * first[index] + (1 - beta1) * g
      second[index] = beta2 * second[index] + (1 - beta2) * g * g
      let mean = first[index] / (1 - pow(beta1, Double(stepCount)))
      let deviation = (second[index] / (1 - pow(beta2, Double(stepCount)))).squareRoot()
      weights.view.base[index] -= Float(rate * mean / (deviation + recorded.adam.epsilon))
    }
  }

  func name(of index: Int) -> String {
    model.layout.entries.first { $0.range.contains(index) }?.name ?? "\(index)"
  }
}

private struct TorchRecord: Decodable {
  struct Shape: Decodable {
    var vocabularySize, encoderLayers, decoderLayers, dimension, feedForward, heads: Int
    var keyDimension, valueDimension, maximumPositions: Int
    var norm, positions: String
    var attentionBias: Bool
  }
  struct Adam: Decodable { var beta1, beta2, epsilon: Double }
  struct Parameter: Decodable {
    var name: String
    var shape: [Int]
  }
  struct Pair: Decodable { var source, target: [Int32] }

  var shape: Shape
  var labelSmoothing: Double
  var adam: Adam
  var batches: [[Pair]]
  var parameters: [Parameter]
  var initialFloat32: Data
  var loss: Double
  var gradientFloat64: Data
  var stepLosses: [Double]
  var learningRates: [Double]
  var finalFloat32: Data

  var initial: [Float] { inLayoutOrder(Self.values(initialFloat32)) }
  var gradient: [Double] { inLayoutOrder(Self.values(gradientFloat64)) }
  var final: [Float] { inLayoutOrder(Self.values(finalFloat32)) }

  /// The record has an order of tensors of its own: they are found by name.
  private func inLayoutOrder<Value>(_ values: [Value]) -> [Value] {
    var starts: [String: Int] = [:]
    var next = 0
    for parameter in parameters {
      starts[parameter.name] = next
      next += parameter.shape.reduce(1, *)
    }
    return Transformer(transformerShape).layout.entries.flatMap { entry in
      let start = starts[entry.name] ?? 0
      return values[start..<start + entry.count]
    }
  }

  var microBatches: [MicroBatch] {
    batches.map { MicroBatch(pairs: $0.map { ($0.source, $0.target) }) }
  }

  var transformerShape: TransformerShape {
    var result = TransformerShape(vocabularySize: shape.vocabularySize)
    result.encoderLayers = shape.encoderLayers
    result.decoderLayers = shape.decoderLayers
    result.dimension = shape.dimension
    result.feedForwardDimension = shape.feedForward
    result.heads = shape.heads
    result.keyDimension = shape.keyDimension
    result.valueDimension = shape.valueDimension
    result.norm = shape.norm == "pre" ? .pre : .post
    result.positions = shape.positions == "learned" ? .learned : .sinusoidal
    result.attentionBias = shape.attentionBias
    result.maximumLength = shape.maximumPositions
    return result
  }

  static func read(_ name: String) throws -> TorchRecord {
    let url = try #require(
      Bundle.module.url(forResource: "Resources/torch-\(name)", withExtension: "json"))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(TorchRecord.self, from: Data(contentsOf: url))
  }

  /// Little-endian numbers, as this machine has them.
  private static func values<Value>(_ data: Data) -> [Value] {
    data.withUnsafeBytes { Array($0.bindMemory(to: Value.self)) }
  }
}
