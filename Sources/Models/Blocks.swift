import Layers
import Tensors

/// Self-attention and feed-forward, each in a residual connection.
///
/// Source: "Attention Is All You Need", section 3.1.
struct EncoderBlock {
  let attention: MultiHeadAttention
  let attentionResidual: Residual
  let feedForward: FeedForward
  let feedForwardResidual: Residual

  init(_ name: String, _ shape: TransformerShape, site: Int, in layout: inout ParameterLayout) {
    attention = shape.attention("\(name)/self_attention", isCross: false, in: &layout)
    attentionResidual = shape.residual("\(name)/self_attention_norm", site: site, in: &layout)
    feedForward = FeedForward(
      "\(name)/feed_forward", dimension: shape.dimension, inner: shape.feedForwardDimension,
      in: &layout)
    feedForwardResidual = shape.residual("\(name)/feed_forward_norm", site: site + 1, in: &layout)
  }

  struct Saved {
    let attentionEntered: Residual.Entered
    let attention: MultiHeadAttention.Saved
    let attentionLeft: Residual.Left
    let feedForwardEntered: Residual.Entered
    let feedForward: FeedForward.Saved
    let feedForwardLeft: Residual.Left
    var output: Matrix { feedForwardLeft.output }
  }

  func forward(_ x: Matrix, _ extents: MultiHeadAttention.Extents, _ pass: Pass) -> Saved {
    let attentionEntered = attentionResidual.enter(x, pass)
    let attended = attention.forward(attentionEntered.output, extents: extents, pass)
    let attentionLeft = attentionResidual.leave(x, body: attended.output, pass)
    let feedForwardEntered = feedForwardResidual.enter(attentionLeft.output, pass)
    let fed = feedForward.forward(feedForwardEntered.output, pass)
    let feedForwardLeft = feedForwardResidual.leave(
      attentionLeft.output, body: fed.output, pass)
    return Saved(
      attentionEntered: attentionEntered, attention: attended, attentionLeft: attentionLeft,
      feedForwardEntered: feedForwardEntered, feedForward: fed, feedForwardLeft: feedForwardLeft)
  }

  /// Turns the gradient of the output, in place, into that of the input.
  func backward(
    _ saved: Saved, _ extents: MultiHeadAttention.Extents, gradient: Matrix, _ pass: Pass,
    _ gradients: GradientTarget
  ) {
    backwardFeedForward(
      feedForward, feedForwardResidual,
      (saved.feedForwardEntered, saved.feedForward, saved.feedForwardLeft), gradient, pass,
      gradients)
    backwardSelfAttention(
      attention, attentionResidual,
      (saved.attentionEntered, saved.attention, saved.attentionLeft), extents, gradient, pass,
      gradients)
  }
}

/// Masked self-attention, attention to the encoder's output and feed-forward, each in a residual
/// connection.
///
/// Source: "Attention Is All You Need", section 3.1.
struct DecoderBlock {
  let selfAttention: MultiHeadAttention
  let selfAttentionResidual: Residual
  let crossAttention: MultiHeadAttention
  let crossAttentionResidual: Residual
  let feedForward: FeedForward
  let feedForwardResidual: Residual

  init(_ name: String, _ shape: TransformerShape, site: Int, in layout: inout ParameterLayout) {
    selfAttention = shape.attention("\(name)/self_attention", isCross: false, in: &layout)
    selfAttentionResidual = shape.residual("\(name)/self_attention_norm", site: site, in: &layout)
    crossAttention = shape.attention("\(name)/cross_attention", isCross: true, in: &layout)
    crossAttentionResidual = shape.residual(
      "\(name)/cross_attention_norm", site: site + 1, in: &layout)
    feedForward = FeedForward(
      "\(name)/feed_forward", dimension: shape.dimension, inner: shape.feedForwardDimension,
      in: &layout)
    feedForwardResidual = shape.residual("\(name)/feed_forward_norm", site: site + 2, in: &layout)
  }

  struct Saved {
    let selfEntered: Residual.Entered
    let selfAttention: MultiHeadAttention.Saved
    let selfLeft: Residual.Left
    let crossEntered: Residual.Entered
    let crossAttention: MultiHeadAttention.Saved
    let crossLeft: Residual.Left
    let feedForwardEntered: Residual.Entered
    let feedForward: FeedForward.Saved
    let feedForwardLeft: Residual.Left
    var output: Matrix { feedForwardLeft.output }
  }

  /// The extents of both attentions.
  struct Extents {
    let own: MultiHeadAttention.Extents
    let cross: MultiHeadAttention.Extents
  }

  func forward(_ x: Matrix, memory: Matrix, _ extents: Extents, _ pass: Pass) -> Saved {
    let selfEntered = selfAttentionResidual.enter(x, pass)
    let attended = selfAttention.forward(selfEntered.output, extents: extents.own, pass)
    let selfLeft = selfAttentionResidual.leave(x, body: attended.output, pass)
    let crossEntered = crossAttentionResidual.enter(selfLeft.output, pass)
    let crossed = crossAttention.forward(
      crossEntered.output, memory: memory, extents: extents.cross, pass)
    let crossLeft = crossAttentionResidual.leave(selfLeft.output, body: crossed.output, pass)
    let feedForwardEntered = feedForwardResidual.enter(crossLeft.output, pass)
    let fed = feedForward.forward(feedForwardEntered.output, pass)
    let feedForwardLeft = feedForwardResidual.leave(crossLeft.output, body: fed.output, pass)
    return Saved(
      selfEntered: selfEntered, selfAttention: attended, selfLeft: selfLeft,
      crossEntered: crossEntered, crossAttention: crossed, crossLeft: crossLeft,
      feedForwardEntered: feedForwardEntered, feedForward: fed, feedForwardLeft: feedForwardLeft)
  }

  /// Turns the gradient of the output, in place, into that of the input; adds that of the encoder's
  /// output to `memoryGradient`.
  func backward(
    _ saved: Saved, _ extents: Extents, gradient: Matrix, memoryGradient: Matrix, _ pass: Pass,
    _ gradients: GradientTarget
  ) {
    backwardFeedForward(
      feedForward, feedForwardResidual,
      (saved.feedForwardEntered, saved.feedForward, saved.feedForwardLeft), gradient, pass,
      gradients)
    let mark = pass.scratch.mark
    let body = crossAttentionResidual.leaveBackward(
      saved.crossLeft, gradient: gradient, pass, gradients)
    let (input, accumulates) = crossAttentionResidual.bodyInputGradient(gradient, pass)
    crossAttention.backward(
      saved.crossAttention, extents: extents.cross, outputGradient: body, pass, gradients,
      inputGradient: input, accumulateInput: accumulates, memoryGradient: memoryGradient)
    crossAttentionResidual.enterBackward(
      saved.crossEntered, bodyInputGradient: input, gradient: gradient, pass, gradients)
    pass.scratch.reset(to: mark)
    backwardSelfAttention(
      selfAttention, selfAttentionResidual,
      (saved.selfEntered, saved.selfAttention, saved.selfLeft), extents.own, gradient, pass,
      gradients)
  }
}

private func backwardFeedForward(
  _ layer: FeedForward, _ residual: Residual,
  _ saved: (entered: Residual.Entered, body: FeedForward.Saved, left: Residual.Left),
  _ gradient: Matrix, _ pass: Pass, _ gradients: GradientTarget
) {
  let mark = pass.scratch.mark
  let body = residual.leaveBackward(saved.left, gradient: gradient, pass, gradients)
  let (input, accumulates) = residual.bodyInputGradient(gradient, pass)
  layer.backward(
    saved.body, outputGradient: body, pass, gradients, inputGradient: input,
    accumulateInput: accumulates)
  residual.enterBackward(
    saved.entered, bodyInputGradient: input, gradient: gradient, pass, gradients)
  pass.scratch.reset(to: mark)
}

private func backwardSelfAttention(
  _ layer: MultiHeadAttention, _ residual: Residual,
  _ saved: (entered: Residual.Entered, body: MultiHeadAttention.Saved, left: Residual.Left),
  _ extents: MultiHeadAttention.Extents, _ gradient: Matrix, _ pass: Pass,
  _ gradients: GradientTarget
) {
  let mark = pass.scratch.mark
  let body = residual.leaveBackward(saved.left, gradient: gradient, pass, gradients)
  let (input, accumulates) = residual.bodyInputGradient(gradient, pass)
  layer.backward(
    saved.body, extents: extents, outputGradient: body, pass, gradients, inputGradient: input,
    accumulateInput: accumulates)
  residual.enterBackward(
    saved.entered, bodyInputGradient: input, gradient: gradient, pass, gradients)
  pass.scratch.reset(to: mark)
}

extension TransformerShape {
  fileprivate func attention(
    _ name: String, isCross: Bool, in layout: inout ParameterLayout
  ) -> MultiHeadAttention {
    MultiHeadAttention(
      name, dimension: dimension, heads: heads, keyDimension: keyDimension,
      valueDimension: valueDimension, bias: attentionBias, isCross: isCross, in: &layout)
  }

  fileprivate func residual(
    _ name: String, site: Int, in layout: inout ParameterLayout
  ) -> Residual {
    Residual(name, dimension: dimension, isPostNorm: norm == .post, site: site, in: &layout)
  }
}
