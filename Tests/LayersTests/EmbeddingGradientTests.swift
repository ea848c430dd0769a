import Core
import Foundation
import Layers
import Tensors
import Testing

/// Gradients of the shared embedding: as input, with positions, and as output projection with its
/// loss.
@Suite struct EmbeddingGradientTests {
  private static let vocabularySize = 11
  private static let dimension = 6
  private static let maximumLength = 5
  /// Tokens that repeat, a sequence of one, positions that no sequence reaches.
  private static let sequences = PackedSequences([[3, 3, 7], [0], [10, 3, 2, 7]])

  @Test(arguments: [true, false], [Float(0), 0.3])
  func inputEmbedding(isLearned: Bool, dropout: Float) {
    let (sequences, d, site) = (Self.sequences, Self.dimension, 1)
    var layout = GradientCheck.layout()
    let positions: PositionEncoding
    if isLearned {
      let range = layout.append("positions", [Self.maximumLength, d], .constant(0))
      positions = .learned(range, maximumLength: Self.maximumLength, dimension: d)
    } else {
      positions = .sinusoidal(SinusoidTable(rows: Self.maximumLength, dimension: d))
    }
    let table = TokenEmbedding(
      vocabularySize: Self.vocabularySize, dimension: d, in: &layout)
    let layer = InputEmbedding(embedding: table, positions: positions, site: site)
    let check = GradientCheck(layout, dropout: dropout)
    let cotangent = check.random(sequences.tokens.count, d, site: 3)
    let gradient = check.random(sequences.tokens.count, d, site: 3)

    _ = layer.forward(sequences, check.pass)
    layer.backward(sequences, gradient: gradient, check.pass, check.target)
    // The loss writes the table's gradient first; here there is none.
    check.target.part(table.weight).fill(0)
    table.addTokenGradients(sequences.tokens, rows: gradient, into: check.target)

    check.compare(inputs: [:], inputGradients: [:]) { values in
      let table = values.rows("embedding/weight", columns: d)
      let learned = values.rows("positions", columns: d)
      var rows: Reference.Rows = []
      for sequence in 0..<sequences.count {
        for position in 0..<sequences.length(sequence) {
          let token = sequences.tokens[sequences.offsets[sequence] + position]
          rows.append(
            (0..<d).map { i in
              // What does not depend on a parameter has no gradient.
              table[Int(token)][i] * Double(d).squareRoot() + (isLearned ? learned[position][i] : 0)
            })
        }
      }
      return contraction(dropped(rows, probability: dropout, site: site), cotangent)
    }
  }

  /// The loss scaled, smoothed and not: gradients of the hidden rows and of the embedding.
  @Test(arguments: [Float(0), 0.125])
  func vocabularyLoss(smoothing: Float) {
    let (rows, d, scale) = (7, Self.dimension, Float(0.25))
    var layout = GradientCheck.layout()
    let table = TokenEmbedding(
      vocabularySize: Self.vocabularySize, dimension: d, in: &layout)
    let loss = VocabularyLoss(embedding: table, smoothing: smoothing)
    let check = GradientCheck(layout)
    let hidden = check.random(rows, d, site: 2)
    let gradient = check.rows(rows, d, filled: .nan)
    let targets: [Int32] = [0, 10, 3, 3, 5, 1, 9]
    let sum = loss.train(
      hidden, targets: targets, gradientScale: scale, check.pass, check.target,
      hiddenGradient: gradient)

    let twin = { (values: GradientCheck.Values) -> Double in
      let logits = Reference.linear(
        values.rows("hidden", columns: d), weight: values.rows("embedding/weight", columns: d))
      return Double(scale)
        * Reference.crossEntropy(logits, targets: targets, smoothing: Double(smoothing))
    }
    var values = check.parameters
    values["hidden"] = hidden.vector.array.map(Double.init)
    #expect(abs(Double(scale) * sum.smoothed - twin(values)) < 1e-5)
    #expect(loss.evaluate(hidden, targets: targets, check.pass) == sum)
    check.compare(
      inputs: ["hidden": hidden], inputGradients: ["hidden": gradient], twin: twin)
  }
}
