import Tensors

/// Projection to the vocabulary by the shared embedding, softmax and cross entropy, forward and
/// backward in one sweep over chunks of rows, so that the logits of all tokens never exist at once.
package struct VocabularyLoss: Sendable {
  let embedding: TokenEmbedding
  let smoothing: Float

  package init(embedding: TokenEmbedding, smoothing: Float) {
    self.embedding = embedding
    self.smoothing = smoothing
  }

  /// The loss alone. Shapes: hidden [tokens, dimension], targets [tokens].
  package func evaluate(_ hidden: Matrix, targets: [Int32], _ pass: Pass) -> LossSum {
    var result = LossSum()
    forEachChunk(hidden, pass) { rows, logits in
      result += crossEntropy(
        logits: logits, targets: targets[rows], smoothing: smoothing, gradientScale: nil)
    }
    return result
  }

  /// The loss and its gradient times `gradientScale`.
  ///
  /// Writes: `hiddenGradient` (overwritten); the embedding's gradient (overwritten by the first
  /// chunk unless `gradients` accumulates).
  package func train(
    _ hidden: Matrix, targets: [Int32], gradientScale: Float, _ pass: Pass,
    _ gradients: GradientTarget, hiddenGradient: Matrix
  ) -> LossSum {
    var result = LossSum()
    let table = embedding.table(pass.weights)
    let tableGradient = embedding.tableGradient(gradients)
    forEachChunk(hidden, pass) { rows, logits in
      result += crossEntropy(
        logits: logits, targets: targets[rows], smoothing: smoothing, gradientScale: gradientScale)
      multiply(logits, table, into: hiddenGradient[rows: rows])
      multiply(
        logits.transposed, hidden[rows: rows], into: tableGradient,
        accumulate: gradients.accumulates || rows.lowerBound > 0)
    }
    return result
  }

  /// Floats of logits that exist at once, for `tokens` tokens.
  package func scratchCount(tokens: Int) -> Int {
    Arena.room(rowsAtOnce(tokens: tokens) * embedding.vocabularySize)
  }

  /// Rows whose logits exist at once, of `tokens`.
  package func rowsAtOnce(tokens: Int) -> Int { min(tokens, chunkRows) }

  /// Enough rows that reading the embedding and its gradient for each chunk costs little beside the
  /// products; the logits then take 64 MiB at most.
  private var chunkRows: Int { max(64, Self.chunkElements / embedding.vocabularySize / 64 * 64) }
  private static let chunkElements = 1 << 24

  private func forEachChunk(
    _ hidden: Matrix, _ pass: Pass, _ body: (_ rows: Range<Int>, _ logits: Matrix) -> Void
  ) {
    let mark = pass.scratch.mark
    defer { pass.scratch.reset(to: mark) }
    let buffer = pass.scratch.matrix(rowsAtOnce(tokens: hidden.rows), embedding.vocabularySize)
    for start in stride(from: 0, to: hidden.rows, by: chunkRows) {
      let rows = start..<min(start + chunkRows, hidden.rows)
      let logits = buffer[rows: 0..<rows.count]
      multiply(hidden[rows: rows], embedding.table(pass.weights).transposed, into: logits)
      body(rows, logits)
    }
  }
}
