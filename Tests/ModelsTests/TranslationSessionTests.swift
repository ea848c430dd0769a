import Core
import Models
import Tensors
import Testing

@Suite struct TranslationSessionTests {
  /// Step by step with cached keys and values equals the whole target at once (the Double twin),
  /// also when hypotheses branch and swap rows.
  @Test(arguments: [GradientTests.Variant.paper, .preNorm, .learnedPositions, .attentionBias])
  func cachedStepsMatchTheWholeTarget(variant: GradientTests.Variant) {
    let model = Transformer(variant.shape, longestSequence: 12)
    let weights = FloatBuffer(count: model.layout.count)
    model.layout.initialize(weights.view, seed: 8)
    let sources: [[Int32]] = [[5, 6, 7, 2], [9, 2]]
    let session = TranslationSession(
      model, weights: weights.view, sources: PackedSequences(sources),
      limits: .init(hypotheses: 4, steps: 5))
    // Rows: (sentence, parent, token); prefixes follow from the parents.
    let script: [[HypothesisStep]] = [
      [.init(sentence: 0, parent: 0, token: 1), .init(sentence: 1, parent: 0, token: 1)],
      [
        .init(sentence: 1, parent: 1, token: 4), .init(sentence: 0, parent: 0, token: 5),
        .init(sentence: 0, parent: 0, token: 6),
      ],
      [
        .init(sentence: 0, parent: 2, token: 7), .init(sentence: 0, parent: 2, token: 8),
        .init(sentence: 0, parent: 1, token: 9), .init(sentence: 1, parent: 0, token: 10),
      ],
      [.init(sentence: 1, parent: 3, token: 3), .init(sentence: 0, parent: 1, token: 3)],
    ]
    let twin = ReferenceTransformer(model)
    let values = weights.view.array.map(Double.init)
    var prefixes: [[Int32]] = []
    for (step, rows) in script.enumerated() {
      let logits = session.advance(rows)
      prefixes = rows.map { (step == 0 ? [] : prefixes[$0.parent]) + [$0.token] }
      for (row, hypothesis) in rows.enumerated() {
        let batch = MicroBatch(
          source: PackedSequences([sources[hypothesis.sentence]]),
          targetInput: PackedSequences([prefixes[row]]),
          targetOutput: Array(repeating: 0, count: prefixes[row].count))
        let expected = twin.logits(batch, weights: values)[step]
        for (value, reference) in zip(logits[row].array, expected) {
          #expect(abs(Double(value) - reference) < 1e-4)
        }
      }
    }
  }
}
