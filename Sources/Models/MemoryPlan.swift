import Core
import Layers
import Tensors

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

  /// The most queries times keys of one sequence.
  var largestPair: Int { longest * longest }

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

/// How many floats the two arenas of a pass need.
package struct ArenaCapacity: Equatable, Sendable {
  /// `Pass.arena`, for each micro-batch in flight.
  package var saved: Int
  /// `Pass.scratch`, once.
  package var scratch: Int

  package init(saved: Int, scratch: Int) {
    self.saved = saved
    self.scratch = scratch
  }
}

extension ModelChunk {
  /// What training on micro-batches within `bounds` needs at most: exactly what a micro-batch that
  /// reaches the bounds takes.
  ///
  /// `saved` has room for the received activations, all that `forward` keeps, and the gradients
  /// that backward starts from: those received, or in the last chunk those of the loss.
  package func arenaCapacity(_ bounds: BatchBounds) -> ArenaCapacity {
    let embedding = model.embedding
    let (s, t) = (bounds.sourceTokens, bounds.targetTokens)
    func rows(_ tokens: Int) -> Int { Arena.room(tokens * model.shape.dimension) }
    func received(before block: Int) -> Int {
      model.boundary(before: block, sourceTokens: s, targetTokens: t).reduce(0) { $0 + rows($1) }
    }
    var saved = received(before: blocks.lowerBound) + received(before: blocks.upperBound)
    var scratch = 0
    if holdsSourceEmbedding { saved += rows(s) }
    if holdsTargetEmbedding { saved += rows(t) }
    if holdsEncoderEnd, let norm = model.finalNorms?.encoder {
      saved += norm.savedCount(tokens: s, inPlace: true)
    }
    if isLast {
      saved += rows(t) + rows(s)
      if let norm = model.finalNorms?.decoder { saved += norm.savedCount(tokens: t, inPlace: true) }
      scratch = VocabularyLoss(embedding: embedding, smoothing: 0).scratchCount(tokens: t)
    }
    for layer in encoderLayers {
      saved += model.encoder[layer].savedCount(bounds)
      scratch = max(scratch, model.encoder[layer].scratchCount(bounds))
    }
    for layer in decoderLayers {
      saved += model.decoder[layer].savedCount(bounds)
      scratch = max(scratch, model.decoder[layer].scratchCount(bounds))
    }
    return ArenaCapacity(saved: saved, scratch: scratch)
  }
}

extension Transformer {
  /// How many numbers the two packed operands of a matrix product have at most, in training on
  /// micro-batches within `bounds` and in any stage: exactly what a micro-batch that reaches the
  /// bounds takes, if its largest products are reduced.
  package func operandCount(_ bounds: BatchBounds) -> Int {
    let tokens = max(bounds.sourceTokens, bounds.targetTokens)
    let (width, heads) = (shape.dimension, shape.heads)
    // Queries, keys and values of self-attention are one projection.
    let fused = heads * (2 * shape.keyDimension + shape.valueDimension)
    let inputs = max(width, shape.feedForwardDimension, heads * shape.valueDimension)
    let rows = VocabularyLoss(embedding: embedding, smoothing: 0).rowsAtOnce(tokens: tokens)
    let count = ReducedProducts.packedCount
    // First come activations, probabilities and logits, or their gradients.
    let first = max(
      count(tokens, max(inputs, fused)), count(bounds.longest, bounds.longest),
      count(rows, shape.vocabularySize))
    // Second come weights, inputs of projections, and queries, keys or values of one head.
    let second = max(
      count(width, max(inputs, fused)), count(shape.vocabularySize, width),
      count(tokens, inputs), count(bounds.longest, shape.keyDimension))
    return first + second
  }

  /// What training the whole model on micro-batches within `bounds` needs at most.
  package func arenaCapacity(_ bounds: BatchBounds) -> ArenaCapacity {
    whole.arenaCapacity(bounds)
  }
}

extension EncoderBlock {
  fileprivate func savedCount(_ bounds: BatchBounds) -> Int {
    let s = bounds.sourceTokens
    return attention.savedCount(queries: s, keys: s, pairs: bounds.sourcePairs)
      + feedForward.savedCount(tokens: s) + attentionResidual.savedCount(tokens: s)
      + feedForwardResidual.savedCount(tokens: s)
  }

  fileprivate func scratchCount(_ bounds: BatchBounds) -> Int {
    let s = bounds.sourceTokens
    return max(
      feedForwardResidual.scratchCount(tokens: s) + feedForward.scratchCount(tokens: s),
      attentionResidual.scratchCount(tokens: s)
        + attention.scratchCount(queries: s, keys: s, largestPair: bounds.largestPair))
  }
}

extension DecoderBlock {
  fileprivate func savedCount(_ bounds: BatchBounds) -> Int {
    let (s, t) = (bounds.sourceTokens, bounds.targetTokens)
    return selfAttention.savedCount(queries: t, keys: t, pairs: bounds.targetPairs)
      + crossAttention.savedCount(queries: t, keys: s, pairs: bounds.crossPairs)
      + feedForward.savedCount(tokens: t) + selfAttentionResidual.savedCount(tokens: t)
      + crossAttentionResidual.savedCount(tokens: t) + feedForwardResidual.savedCount(tokens: t)
  }

  fileprivate func scratchCount(_ bounds: BatchBounds) -> Int {
    let (s, t) = (bounds.sourceTokens, bounds.targetTokens)
    return max(
      feedForwardResidual.scratchCount(tokens: t) + feedForward.scratchCount(tokens: t),
      crossAttentionResidual.scratchCount(tokens: t)
        + crossAttention.scratchCount(queries: t, keys: s, largestPair: bounds.largestPair),
      selfAttentionResidual.scratchCount(tokens: t)
        + selfAttention.scratchCount(queries: t, keys: t, largestPair: bounds.largestPair))
  }
}
