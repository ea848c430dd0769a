import Tensors

/// The connection around a sub-layer f.
///
/// Equation: post-norm LayerNorm(x + dropout(f(x))), as the paper; pre-norm x +
/// dropout(f(LayerNorm(x))).
/// Source: "Attention Is All You Need", sections 3.1 and 5.4; pre-norm: Xiong et al., 2020.
///
/// A block calls, in this order: `enter`, its sub-layer, `leave`; and backwards `leaveBackward`,
/// the sub-layer's backward into `bodyInputGradient`, `enterBackward`.
package struct Residual: Sendable {
  let norm: LayerNorm
  let isPostNorm: Bool
  /// Names the dropout mask of this connection.
  let site: Int

  package init(
    _ name: String, dimension: Int, isPostNorm: Bool, site: Int, in layout: inout ParameterLayout
  ) {
    norm = LayerNorm(name, dimension: dimension, in: &layout)
    self.isPostNorm = isPostNorm
    self.site = site
  }

  package struct Entered {
    let saved: LayerNorm.Saved?
    /// The sub-layer's input.
    package let output: Matrix
  }

  package struct Left {
    let saved: LayerNorm.Saved?
    /// The block's output.
    package let output: Matrix
  }

  package func enter(_ x: Matrix, _ pass: Pass) -> Entered {
    guard !isPostNorm else { return Entered(saved: nil, output: x) }
    let saved = norm.forward(x, inPlace: false, pass)
    return Entered(saved: saved, output: saved.output)
  }

  /// Writes: `body`, the sub-layer's output, is overwritten.
  package func leave(_ x: Matrix, body: Matrix, _ pass: Pass) -> Left {
    pass.dropout.apply(body, adding: x, into: body, stream: pass.maskStream(site: site))
    guard isPostNorm else { return Left(saved: nil, output: body) }
    let saved = norm.forward(body, inPlace: true, pass)
    return Left(saved: saved, output: saved.output)
  }

  /// Turns the gradient of the block's output, in place, into that of the residual branch and
  /// returns the gradient of the sub-layer's output.
  package func leaveBackward(
    _ left: Left, gradient: Matrix, _ pass: Pass, _ gradients: GradientTarget
  ) -> Matrix {
    if let saved = left.saved {
      norm.backward(
        saved, outputGradient: gradient, pass, gradients, inputGradient: gradient,
        accumulateInput: false)
    }
    let body = pass.scratch.matrix(gradient.rows, gradient.columns)
    pass.dropout.apply(gradient, into: body, stream: pass.maskStream(site: site))
    return body
  }

  /// Where the sub-layer's backward writes the gradient of its input.
  package func bodyInputGradient(
    _ gradient: Matrix, _ pass: Pass
  ) -> (matrix: Matrix, accumulates: Bool) {
    isPostNorm
      ? (gradient, true) : (pass.scratch.matrix(gradient.rows, gradient.columns), false)
  }

  /// Adds the sub-layer's share to `gradient`, which then is that of the block's input.
  package func enterBackward(
    _ entered: Entered, bodyInputGradient: Matrix, gradient: Matrix, _ pass: Pass,
    _ gradients: GradientTarget
  ) {
    guard let saved = entered.saved else { return }
    norm.backward(
      saved, outputGradient: bodyInputGradient, pass, gradients, inputGradient: gradient,
      accumulateInput: true)
  }

  /// Floats kept from forward to backward besides the sub-layer's own.
  package func savedCount(tokens: Int) -> Int {
    norm.savedCount(tokens: tokens, inPlace: isPostNorm)
  }

  /// Floats of scratch the backward pass needs.
  package func scratchCount(tokens: Int) -> Int {
    Arena.room(tokens * norm.scale.count) * (isPostNorm ? 1 : 2)
  }
}
