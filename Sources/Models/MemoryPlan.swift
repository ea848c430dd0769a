import Core
import Layers

/// How large a micro-batch is, as far as memory goes.
package struct BatchBounds: Equatable, Sendable {
  package var sourceTokens = 0
  package var targetTokens = 0
  /// Sums over sentence pairs: source length squared, target length squared, their product.
  package var sourcePairs = 0
  package var targetPairs = 0
  package var crossPairs = 0
  /// The longest sequence of either side.
  package var longest = 0

  package init() {}

  package init(_ batch: MicroBatch) {
    sourceTokens = batch.source.tokens.count
    targetTokens = batch.targetInput.tokens.count
    for pair in 0..<batch.pairCount {
      let (n, m) = (batch.source.length(pair), batch.targetInput.length(pair))
      sourcePairs += n * n
      targetPairs += m * m
      crossPairs += n * m
      longest = max(longest, n, m)
    }
  }

  /// Whatever a micro-batch of at most `tokens` a side in sentences of at most `longest` can need.
  package init(tokens: Int, longest: Int) {
    sourceTokens = tokens
    targetTokens = tokens
    sourcePairs = tokens * longest
    targetPairs = tokens * longest
    crossPairs = tokens * longest
    self.longest = longest
  }
}

extension Transformer {
  /// Floats of arena that training on micro-batches within `bounds` needs at most.
  package func arenaCapacity(_ bounds: BatchBounds) -> Int {
    let (s, t, d) = (bounds.sourceTokens, bounds.targetTokens, shape.dimension)
    let pair = bounds.longest * bounds.longest
    var saved = 2 * (s + t) * d + (s + t) * (d + 1) + 256
    var scratch = VocabularyLoss(embedding: embedding, smoothing: 0).scratchCount(tokens: t)
    for block in encoder {
      let residual = block.attentionResidual
      saved +=
        block.attention.savedCount(queries: s, keys: s, pairs: bounds.sourcePairs)
        + block.feedForward.savedCount(tokens: s) + 2 * residual.savedCount(tokens: s, dimension: d)
      let own = residual.scratchCount(tokens: s, dimension: d)
      scratch = max(
        scratch, own + block.feedForward.scratchCount(tokens: s),
        own + block.attention.scratchCount(queries: s, keys: s, largestPair: pair))
    }
    for block in decoder {
      let residual = block.selfAttentionResidual
      saved +=
        block.selfAttention.savedCount(queries: t, keys: t, pairs: bounds.targetPairs)
        + block.crossAttention.savedCount(queries: t, keys: s, pairs: bounds.crossPairs)
        + block.feedForward.savedCount(tokens: t) + 3 * residual.savedCount(tokens: t, dimension: d)
      let own = residual.scratchCount(tokens: t, dimension: d)
      scratch = max(
        scratch, own + block.feedForward.scratchCount(tokens: t),
        own + block.selfAttention.scratchCount(queries: t, keys: t, largestPair: pair),
        own + block.crossAttention.scratchCount(queries: t, keys: s, largestPair: pair))
    }
    return saved + scratch
  }

  /// Floating-point operations of one training step over a micro-batch: three times those of the
  /// forward pass, two a multiply-add; embedding look-ups and element-wise work are not counted.
  ///
  /// Equation: 6 (sum of weight-matrix products over their tokens) + 12 heads (d_k + d_v) / 2
  /// (query-key pairs), causal attention counted in full.
  package func trainingOperations(_ bounds: BatchBounds) -> Double {
    let (s, t, d) = (bounds.sourceTokens, bounds.targetTokens, shape.dimension)
    let attention = d * shape.heads * (shape.keyDimension + shape.valueDimension)
    let feedForward = 2 * d * shape.feedForwardDimension
    var products = Double(shape.encoderLayers) * Double(s * (2 * attention + feedForward))
    // Queries and outputs over target tokens, keys and values over source tokens: half each.
    products += Double(shape.decoderLayers) * Double(t * (3 * attention + feedForward))
    products += Double(shape.decoderLayers) * Double(s * attention)
    products += Double(t * d * shape.vocabularySize)
    let perPair = Double(shape.heads * (shape.keyDimension + shape.valueDimension))
    let pairs =
      Double(shape.encoderLayers * bounds.sourcePairs)
      + Double(shape.decoderLayers * (bounds.targetPairs + bounds.crossPairs))
    return 6 * (products + perPair * pairs)
  }
}
