import Core
import Layers
import Tensors

/// Forward and backward of a chunk. The numbers do not depend on where a model is cut.
///
/// Memory: received matrices, what `forward` keeps and the gradients of the last chunk's loss lie
/// in `pass.arena`, which belongs to the micro-batch: the caller resets it before the activations
/// of a micro-batch arrive and not before its returned gradients are sent. `pass.scratch` is free
/// between calls.
extension ModelChunk {
  /// What a micro-batch keeps from forward to backward.
  package struct Saved {
    let extents: BatchExtents
    let source: SourceStream
    /// Nil in a chunk of encoder layers only.
    let target: TargetStream?
    /// What crosses to the next chunk, as `Transformer.boundary` says; empty for the last. May be
    /// the memory of the input and is needed unchanged until backward.
    package let output: [Matrix]
  }

  /// What the source tokens went through here; in a chunk without encoder layers, nothing.
  struct SourceStream {
    let blocks: [EncoderBlock.Saved]
    let finalNorm: LayerNorm.Saved?
    let output: Matrix
  }

  /// What the target tokens went through here.
  struct TargetStream {
    let blocks: [DecoderBlock.Saved]
    let finalNorm: LayerNorm.Saved?
    let output: Matrix
  }

  /// What the last chunk needs to know about the loss.
  package struct Objective: Sendable {
    package var smoothing: Float
    /// Multiplies the loss gradient: one over the step's global count of target tokens.
    package var gradientScale: Float

    package init(smoothing: Float, gradientScale: Float) {
      self.smoothing = smoothing
      self.gradientScale = gradientScale
    }
  }

  /// What backward hands on.
  package struct BackwardResult {
    /// The gradients of `input`, for the previous chunk; empty for the first. They are the memory
    /// of `outputGradient`, or lie in `pass.arena`.
    package fileprivate(set) var inputGradient: [Matrix] = []
    /// Of the last chunk; zero elsewhere.
    package fileprivate(set) var loss = LossSum()
    /// Rows for `Transformer.addTokenGradients` from the look-ups of this chunk, target side first;
    /// in the same memory as `inputGradient`.
    package fileprivate(set) var tokenGradients: [(side: TokenSide, rows: Matrix)] = []
  }

  /// Runs a micro-batch through the blocks.
  ///
  /// Shapes: `input` as `Transformer.boundary(before: blocks.lowerBound)`; it must stay unchanged
  /// until backward.
  package func forward(_ batch: MicroBatch, input: [Matrix], _ pass: Pass) -> Saved {
    requireBoundary(input, before: blocks.lowerBound, batch)
    let extents = BatchExtents(batch)
    // The source side always travels last.
    let source = forwardSource(batch.source, input: input.last, extents.encoder, pass)
    guard !decoderLayers.isEmpty else {
      return Saved(extents: extents, source: source, target: nil, output: [source.output])
    }
    let target = forwardTarget(
      batch.targetInput, input: input.first, memory: source.output, extents.decoder, pass)
    return Saved(
      extents: extents, source: source, target: target,
      output: isLast ? [] : [target.output, source.output])
  }

  /// Embedding, encoder layers and final norm, as far as they are here.
  func forwardSource(
    _ tokens: PackedSequences, input: Matrix?, _ extents: MultiHeadAttention.Extents, _ pass: Pass
  ) -> SourceStream {
    var x = received(input) { model.sourceEmbedding.forward(tokens, pass) }
    var saved: [EncoderBlock.Saved] = []
    for layer in encoderLayers {
      let block = model.encoder[layer].forward(x, extents, pass)
      saved.append(block)
      x = block.output
    }
    let norm =
      holdsEncoderEnd ? model.finalNorms?.encoder.forward(x, inPlace: true, pass) : nil
    return SourceStream(blocks: saved, finalNorm: norm, output: norm?.output ?? x)
  }

  private func forwardTarget(
    _ tokens: PackedSequences, input: Matrix?, memory: Matrix, _ extents: DecoderBlock.Extents,
    _ pass: Pass
  ) -> TargetStream {
    var x = received(holdsTargetEmbedding ? nil : input) {
      model.targetEmbedding.forward(tokens, pass)
    }
    var saved: [DecoderBlock.Saved] = []
    for layer in decoderLayers {
      let block = model.decoder[layer].forward(x, memory: memory, extents, pass)
      saved.append(block)
      x = block.output
    }
    let norm = isLast ? model.finalNorms?.decoder.forward(x, inPlace: true, pass) : nil
    return TargetStream(blocks: saved, finalNorm: norm, output: norm?.output ?? x)
  }

  private func received(_ input: Matrix?, or lookUp: () -> Matrix) -> Matrix {
    if let input { return input }
    return lookUp()
  }

  /// The loss of a micro-batch alone, behind `forward` of the last chunk.
  package func loss(
    _ batch: MicroBatch, _ saved: Saved, smoothing: Float, _ pass: Pass
  ) -> LossSum {
    guard isLast, let target = saved.target else { preconditionFailure("not the last chunk") }
    return VocabularyLoss(embedding: model.embedding, smoothing: smoothing)
      .evaluate(target.output, targets: batch.targetOutput, pass)
  }

  /// Runs a micro-batch back through the blocks; the last chunk begins with the loss.
  ///
  /// - Parameters:
  ///   - outputGradient: the gradients of `saved.output`; overwritten.
  ///   - gradients: holds at least `parameters`.
  ///   - embeddingGradient: where the last chunk's loss puts its part; nil elsewhere.
  ///   - completed: called with the number of a section (that of its block) as soon as its
  ///     gradients are complete as far as this micro-batch goes, last block first.
  ///
  /// Writes: the gradients of `parameters` and, in the last chunk, of the embedding, overwritten or
  /// accumulated as the targets say. The embedding's gradient is complete only with the token
  /// gradients, which come after the losses of all micro-batches of a lane.
  package func backward(
    _ batch: MicroBatch, _ saved: Saved, outputGradient: [Matrix], _ pass: Pass,
    _ gradients: GradientTarget, embeddingGradient: GradientTarget?, objective: Objective,
    completed: (_ section: Int) -> Void = { _ in }
  ) -> BackwardResult {
    var result = BackwardResult()
    let (target, source) = lossBackward(
      batch, saved, outputGradient, pass, gradients, embeddingGradient, objective, &result)
    if let target, let stream = saved.target {
      for (layer, block) in zip(decoderLayers, stream.blocks).reversed() {
        model.decoder[layer].backward(
          block, saved.extents.decoder, gradient: target, memoryGradient: source, pass, gradients)
        if layer == 0 {
          model.targetEmbedding.backward(batch.targetInput, gradient: target, pass, gradients)
          result.tokenGradients.append((.target, target))
        }
        if model.encoder.count + layer > 0 { completed(model.encoder.count + layer) }
      }
    }
    if let norms = model.finalNorms, let norm = saved.source.finalNorm {
      norms.encoder.backward(
        norm, outputGradient: source, pass, gradients, inputGradient: source,
        accumulateInput: false)
    }
    for (layer, block) in zip(encoderLayers, saved.source.blocks).reversed() {
      model.encoder[layer].backward(
        block, saved.extents.encoder, gradient: source, pass, gradients)
      if layer > 0 { completed(layer) }
    }
    if isFirst {
      model.sourceEmbedding.backward(batch.source, gradient: source, pass, gradients)
      result.tokenGradients.append((.source, source))
      completed(0)
    } else {
      let crosses = blocks.lowerBound > model.encoder.count
      result.inputGradient = (crosses ? [target].compactMap(\.self) : []) + [source]
    }
    return result
  }

  /// The gradients of the last block's output, target side and source side: received, or in the
  /// last chunk those of the loss.
  private func lossBackward(
    _ batch: MicroBatch, _ saved: Saved, _ outputGradient: [Matrix], _ pass: Pass,
    _ gradients: GradientTarget, _ embeddingGradient: GradientTarget?, _ objective: Objective,
    _ result: inout BackwardResult
  ) -> (target: Matrix?, source: Matrix) {
    requireBoundary(outputGradient, before: blocks.upperBound, batch)
    if let source = outputGradient.last {
      return (outputGradient.count == 2 ? outputGradient[0] : nil, source)
    }
    guard let stream = saved.target, let embeddingGradient else {
      preconditionFailure("the last chunk has a loss and a place for the embedding's gradient")
    }
    let target = pass.arena.matrix(stream.output.rows, model.shape.dimension)
    let source = pass.arena.matrix(saved.source.output.rows, model.shape.dimension)
    result.loss = VocabularyLoss(embedding: model.embedding, smoothing: objective.smoothing).train(
      stream.output, targets: batch.targetOutput, gradientScale: objective.gradientScale, pass,
      embeddingGradient, hiddenGradient: target)
    source.vector.fill(0)
    if let norms = model.finalNorms, let norm = stream.finalNorm {
      norms.decoder.backward(
        norm, outputGradient: target, pass, gradients, inputGradient: target,
        accumulateInput: false)
    }
    return (target, source)
  }

  private func requireBoundary(_ matrices: [Matrix], before block: Int, _ batch: MicroBatch) {
    precondition(
      matrices.map(\.rows) == model.boundary(before: block, batch)
        && matrices.allSatisfy { $0.columns == model.shape.dimension && $0.isContiguous },
      "the matrices before block \(block) have other shapes")
  }
}

/// The attention extents of a micro-batch.
struct BatchExtents {
  let encoder: MultiHeadAttention.Extents
  let decoder: DecoderBlock.Extents

  init(_ batch: MicroBatch) {
    let source = batch.source.offsets
    let target = batch.targetInput.offsets
    encoder = MultiHeadAttention.Extents(queries: source, keys: source, causal: false)
    decoder = DecoderBlock.Extents(
      own: MultiHeadAttention.Extents(queries: target, keys: target, causal: true),
      cross: MultiHeadAttention.Extents(queries: target, keys: source, causal: false))
  }
}
