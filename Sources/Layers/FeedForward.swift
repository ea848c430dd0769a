import Tensors

/// FFN(x) = max(0, x W1^T + b1) W2^T + b2.
///
/// Source: "Attention Is All You Need", equation 2. Shapes: x and result [tokens, dimension],
/// hidden [tokens, inner].
package struct FeedForward: Sendable {
  let inner: Linear
  let outer: Linear

  package init(
    _ name: String, dimension: Int, inner innerDimension: Int, in layout: inout ParameterLayout
  ) {
    inner = Linear(
      "\(name)/inner", inputs: dimension, outputs: innerDimension, bias: true, in: &layout)
    outer = Linear(
      "\(name)/outer", inputs: innerDimension, outputs: dimension, bias: true, in: &layout)
  }

  package struct Saved {
    let input: Matrix
    let hidden: Matrix
    package let output: Matrix
  }

  package func forward(_ x: Matrix, _ pass: Pass) -> Saved {
    let hidden = inner.forwardRectified(x, pass)
    return Saved(input: x, hidden: hidden, output: outer.forward(hidden, pass))
  }

  package func backward(
    _ saved: Saved, outputGradient: Matrix, _ pass: Pass, _ gradients: GradientTarget,
    inputGradient: Matrix, accumulateInput: Bool
  ) {
    let hiddenGradient = pass.scratch.matrix(saved.hidden.rows, saved.hidden.columns)
    outer.backward(
      input: saved.hidden, outputGradient: outputGradient, pass, gradients,
      inputGradient: hiddenGradient, accumulateInput: false)
    rectifyBackward(output: saved.hidden, gradient: hiddenGradient)
    inner.backward(
      input: saved.input, outputGradient: hiddenGradient, pass, gradients,
      inputGradient: inputGradient, accumulateInput: accumulateInput)
  }

  /// Floats kept from forward to backward, for `tokens` tokens.
  package func savedCount(tokens: Int) -> Int {
    inner.savedCount(tokens: tokens) + outer.savedCount(tokens: tokens)
  }

  /// Floats of scratch the backward pass needs.
  package func scratchCount(tokens: Int) -> Int { Arena.room(tokens * inner.outputs) }
}
