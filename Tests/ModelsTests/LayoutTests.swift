import Core
import Layers
import Models
import Tensors
import Testing

@Suite struct LayoutTests {
  /// One section a block, with what is attached to it, and the embedding last.
  @Test func sectionsAreTheBlocksAndTheEmbedding() {
    let layout = Transformer(ChunkTests.Variant.everything.shape).layout
    let sections = layout.sections
    let names = sections.map { $0.name }
    #expect(
      names == [
        "encoder/layer_00", "encoder/layer_01", "encoder/layer_02", "decoder/layer_00",
        "decoder/layer_01", "embedding",
      ])
    #expect(sections.first?.range.lowerBound == 0)
    #expect(sections.last?.range.upperBound == layout.count)
    for (left, right) in zip(sections, sections.dropFirst()) {
      #expect(left.range.upperBound == right.range.lowerBound)
    }
    func section(of name: String) -> String? {
      guard let entry = layout[name] else { return nil }
      return sections.first { $0.range.contains(entry.offset) }?.name
    }
    #expect(section(of: "encoder/positions/weight") == "encoder/layer_00")
    #expect(section(of: "encoder/final_norm/bias") == "encoder/layer_02")
    #expect(section(of: "decoder/positions/weight") == "decoder/layer_00")
    #expect(section(of: "decoder/final_norm/scale") == "decoder/layer_01")
    #expect(section(of: "embedding/weight") == "embedding")
    for entry in layout.entries where entry.name.contains("/layer_") {
      #expect(entry.name.hasPrefix((section(of: entry.name) ?? "none") + "/"))
    }
  }

  @Test func aLayoutWithoutMarksIsOneSection() {
    var layout = ParameterLayout()
    layout.append("a", [3], .constant(0))
    layout.append("b", [2, 2], .xavierUniform)
    let ranges = layout.sections.map { $0.range }
    #expect(ranges == [0..<7])
  }

  /// Initial values belong to a name: a layout in reverse order has the same.
  @Test func theOrderOfTensorsDecidesNoInitialValue() {
    let layout = Transformer(ChunkTests.Variant.everything.shape).layout
    var reversed = ParameterLayout()
    for entry in layout.entries.reversed() {
      reversed.append(entry.name, entry.shape, entry.initialization)
    }
    let values = FloatBuffer(count: layout.count)
    let others = FloatBuffer(count: layout.count)
    layout.initialize(values.view, seed: 6)
    reversed.initialize(others.view, seed: 6)
    for entry in layout.entries {
      let other = reversed[entry.name].map { others.view[$0.range].array }
      #expect(values.view[entry.range].array == other, "\(entry.name)")
    }
    // Two tensors of one shape do not start alike.
    let alike = ["encoder/layer_00", "encoder/layer_01"].compactMap {
      layout["\($0)/feed_forward/inner/weight"].map { values.view[$0.range].array }
    }
    #expect(alike.count == 2 && alike[0] != alike[1])
  }
}

@Suite struct WorkEstimateTests {
  private static let bounds = BatchBounds(tokens: 1_000, longest: 25)

  /// Counted by hand, with no two extents alike.
  @Test func operationsAreThoseOfTheEquation() {
    var shape = TransformerShape(vocabularySize: 13)
    shape.encoderLayers = 1
    shape.decoderLayers = 2
    shape.dimension = 3
    shape.feedForwardDimension = 5
    shape.heads = 2
    shape.keyDimension = 7
    shape.valueDimension = 11
    // Sources of 2 and 5 tokens, targets of 3 and 1.
    var bounds = BatchBounds()
    (bounds.sourceTokens, bounds.targetTokens) = (7, 4)
    (bounds.sourcePairs, bounds.targetPairs, bounds.crossPairs) = (29, 10, 11)
    // Query and key 3 x 14 each, value and output 3 x 22 each, feed-forward 2 x 3 x 5; a pair 2 x
    // (7 + 11).
    let encoder = 7 * (2 * 42 + 2 * 66 + 30) + 29 * 36
    let decoder = 4 * (3 * 42 + 3 * 66 + 30) + 7 * (42 + 66) + (10 + 11) * 36
    let logits = 4 * 3 * 13
    #expect((encoder, decoder, logits) == (2_766, 2_928, 156))
    #expect(Transformer(shape).trainingOperations(bounds) == 52_668)
  }

  /// Costs are the counted operations and something for what is bound by memory.
  @Test func costsAreOperationsAndALittle() {
    let model = Transformer(TransformerShape(vocabularySize: 32_000))
    let costs = model.blockCosts(Self.bounds)
    #expect(costs.count == 12)
    let ratio = costs.reduce(0, +) / model.trainingOperations(Self.bounds)
    #expect(ratio > 1 && ratio < 1.15)
  }

  /// What is attached to a block is counted there, and only there.
  @Test func attachmentsAreCountedWhereTheyAre() {
    var shape = TransformerShape(vocabularySize: 1_000)
    let small = Transformer(shape).blockCosts(Self.bounds)
    shape.vocabularySize = 30_000
    let large = Transformer(shape).blockCosts(Self.bounds)
    #expect(small.dropLast() == large.dropLast())
    // 29,000 more columns of logits for 1,000 tokens, 6 d operations each, and their softmax.
    let operations = 29_000.0 * 1_000 * 6 * 512
    let growth = large[11] - small[11]
    #expect(growth > operations && growth < 1.1 * operations)
    #expect(small[0] > small[1] && small[6] > small[7])
    #expect(Array(small[1...5]) == Array(repeating: small[1], count: 5))
    #expect(Array(small[7...10]) == Array(repeating: small[7], count: 4))
  }
}
