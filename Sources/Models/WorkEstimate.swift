/// What training costs, in floating-point operations.
///
/// Equation of the counted operations: three times those of the forward pass, two a multiply-add:
/// 6 (sum of weight-matrix products over their tokens) + 6 heads (d_k + d_v) (query-key pairs),
/// causal attention counted in full.
extension Transformer {
  /// Floating-point operations of one training step over a micro-batch; embedding look-ups and
  /// element-wise work are not counted.
  package func trainingOperations(_ bounds: BatchBounds) -> Double {
    Double(encoder.count) * encoderOperations(bounds)
      + Double(decoder.count) * decoderOperations(bounds)
      + vocabularyOperations(bounds)
  }

  /// What each block costs in training on one micro-batch, with what is attached to it: for cutting
  /// the model into stages.
  ///
  /// Unit: counted operations, to which element-wise work is added as the operations a matrix
  /// product does in the same time: `operationsPerMovedElement` for each float read or written
  /// outside of a product. Only ratios mean anything.
  package func blockCosts(_ bounds: BatchBounds) -> [Double] {
    let (s, t) = (Double(bounds.sourceTokens), Double(bounds.targetTokens))
    let (d, heads) = (Double(shape.dimension), Double(shape.heads))
    let inner = Double(shape.feedForwardDimension)
    // Per token and sub-layer: dropout, residual and norm, forward and backward.
    let sublayer = 16 * d
    let feedForward = 6 * inner
    // Scores and probabilities, per head and pair: softmax forward and backward.
    let score = 8 * heads
    let encoderMoved = s * (2 * sublayer + feedForward) + score * Double(bounds.sourcePairs)
    let decoderMoved =
      t * (3 * sublayer + feedForward)
      + score * Double(bounds.targetPairs + bounds.crossPairs)
    let encoderCost = encoderOperations(bounds) + Self.operationsPerMovedElement * encoderMoved
    let decoderCost = decoderOperations(bounds) + Self.operationsPerMovedElement * decoderMoved
    var costs =
      Array(repeating: encoderCost, count: encoder.count)
      + Array(repeating: decoderCost, count: decoder.count)
    // A look-up reads and writes a row and drops some of it; backward drops again. The scatter-add
    // is the last block's, as the embedding's gradient is.
    costs[0] += Self.operationsPerMovedElement * 6 * d * s
    costs[encoder.count] += Self.operationsPerMovedElement * 6 * d * t
    let logits = 5 * Double(shape.vocabularySize) * t
    costs[costs.count - 1] +=
      vocabularyOperations(bounds)
      + Self.operationsPerMovedElement * (logits + 3 * d * (s + t))
    return costs
  }

  /// A core that does 100 GFLOP/s in products and moves 2.5 G floats a second does 40 operations in
  /// the time of one; half of that, because much of the element-wise work finds its data in cache.
  private static let operationsPerMovedElement = 20.0

  private var attentionProducts: Double {
    Double(shape.dimension * shape.heads * (shape.keyDimension + shape.valueDimension))
  }

  private var feedForwardProducts: Double {
    2 * Double(shape.dimension) * Double(shape.feedForwardDimension)
  }

  private var perPair: Double {
    Double(shape.heads * (shape.keyDimension + shape.valueDimension))
  }

  private func encoderOperations(_ bounds: BatchBounds) -> Double {
    6
      * (Double(bounds.sourceTokens) * (2 * attentionProducts + feedForwardProducts)
        + perPair * Double(bounds.sourcePairs))
  }

  private func decoderOperations(_ bounds: BatchBounds) -> Double {
    // Of cross-attention, queries and outputs over target tokens, keys and values over source
    // tokens.
    6
      * (Double(bounds.targetTokens) * (3 * attentionProducts + feedForwardProducts)
        + Double(bounds.sourceTokens) * attentionProducts
        + perPair * Double(bounds.targetPairs + bounds.crossPairs))
  }

  private func vocabularyOperations(_ bounds: BatchBounds) -> Double {
    6 * Double(bounds.targetTokens) * Double(shape.dimension) * Double(shape.vocabularySize)
  }
}
