import Tensors

/// y = x W^T + b. Shapes: x [tokens, inputs], W [outputs, inputs], b [outputs], y [tokens,
/// outputs].
package struct Linear: Sendable {
  package let weight: Range<Int>
  package let bias: Range<Int>?
  package let inputs: Int
  package let outputs: Int

  /// Declares `NAME/weight` and, if asked, `NAME/bias`.
  package init(
    _ name: String, inputs: Int, outputs: Int, bias: Bool, in layout: inout ParameterLayout
  ) {
    let weight = layout.append("\(name)/weight", [outputs, inputs], .xavierUniform)
    let bias = bias ? layout.append("\(name)/bias", [outputs], .constant(0)) : nil
    self.init(weight: weight, bias: bias, inputs: inputs, outputs: outputs)
  }

  /// Several projections of one input side by side: their weights and biases lie next to each other
  /// in the layout, so that one matrix product serves all.
  package init(
    fused parts: [(name: String, outputs: Int)], inputs: Int, bias: Bool,
    in layout: inout ParameterLayout
  ) {
    precondition(!parts.isEmpty, "at least one projection")
    let start = layout.count
    for part in parts {
      layout.append("\(part.name)/weight", [part.outputs, inputs], .xavierUniform)
    }
    let biasStart = layout.count
    if bias {
      for part in parts { layout.append("\(part.name)/bias", [part.outputs], .constant(0)) }
    }
    self.init(
      weight: start..<biasStart, bias: bias ? biasStart..<layout.count : nil, inputs: inputs,
      outputs: parts.reduce(0) { $0 + $1.outputs })
  }

  private init(weight: Range<Int>, bias: Range<Int>?, inputs: Int, outputs: Int) {
    self.weight = weight
    self.bias = bias
    self.inputs = inputs
    self.outputs = outputs
  }

  package func forward(_ x: Matrix, _ pass: Pass) -> Matrix {
    let y = forwardWithoutBias(x, pass)
    if let bias { addBias(pass.weight(bias), to: y) }
    return y
  }

  /// y = max(0, x W^T + b), in one pass over y.
  func forwardRectified(_ x: Matrix, _ pass: Pass) -> Matrix {
    let y = forwardWithoutBias(x, pass)
    guard let bias else { preconditionFailure("a rectified projection has a bias") }
    addBiasAndRectify(pass.weight(bias), y)
    return y
  }

  private func forwardWithoutBias(_ x: Matrix, _ pass: Pass) -> Matrix {
    let y = pass.arena.matrix(x.rows, outputs)
    multiply(x, matrix(pass.weight(weight)).transposed, into: y)
    return y
  }

  /// Writes: parameter gradients into `gradients`; `inputGradient` = dy W, or += when
  /// `accumulateInput`.
  package func backward(
    input x: Matrix, outputGradient dy: Matrix, _ pass: Pass, _ gradients: GradientTarget,
    inputGradient: Matrix, accumulateInput: Bool
  ) {
    multiply(
      dy.transposed, x, into: matrix(gradients.part(weight)), accumulate: gradients.accumulates)
    if let bias {
      sumColumns(dy, into: gradients.part(bias), accumulate: gradients.accumulates)
    }
    multiply(dy, matrix(pass.weight(weight)), into: inputGradient, accumulate: accumulateInput)
  }

  /// Floats kept from forward to backward, for `tokens` tokens: the output.
  package func savedCount(tokens: Int) -> Int { Arena.room(tokens * outputs) }

  private func matrix(_ weights: Vector) -> Matrix {
    weights.matrix(rows: outputs, columns: inputs)
  }
}
