import Core
import Foundation
import Layers
import Tensors
import Testing

/// Every layer's gradients, parameters and inputs, against central differences of its naive twin in
/// Double.
@Suite struct LayerGradientTests {
  /// Inputs and parameters accumulate or overwrite, as asked.
  enum Mode: CaseIterable {
    case overwriting, accumulating
    /// What the input gradient holds before.
    var start: Float { self == .overwriting ? .nan : GradientCheck.earlier }
  }

  @Test(arguments: [(1, 1, 1), (3, 5, 2), (7, 17, 33)], [true, false])
  func linear(shape: (rows: Int, inputs: Int, outputs: Int), bias: Bool) {
    var layout = GradientCheck.layout()
    let layer = Linear(
      "layer", inputs: shape.inputs, outputs: shape.outputs, bias: bias, in: &layout)
    let check = GradientCheck(layout)
    let x = check.random(shape.rows, shape.inputs, site: 2)
    let cotangent = check.random(shape.rows, shape.outputs, site: 3)
    let gradient = check.rows(shape.rows, shape.inputs, filled: .nan)
    _ = layer.forward(x, check.pass)
    layer.backward(
      input: x, outputGradient: cotangent, check.pass, check.target,
      inputGradient: gradient, accumulateInput: false)
    check.compare(inputs: ["x": x], inputGradients: ["x": gradient]) { values in
      let y = values.linear(values.rows("x", columns: shape.inputs), "layer")
      return contraction(y, cotangent)
    }
  }

  @Test(arguments: Mode.allCases, [(1, 2, 3), (5, 7, 11)])
  func feedForward(mode: Mode, shape: (rows: Int, dimension: Int, inner: Int)) {
    var layout = GradientCheck.layout()
    let layer = FeedForward(
      "layer", dimension: shape.dimension, inner: shape.inner, in: &layout)
    let check = GradientCheck(layout)
    let x = check.random(shape.rows, shape.dimension, site: 2)
    let cotangent = check.random(shape.rows, shape.dimension, site: 3)
    let gradient = check.rows(shape.rows, shape.dimension, filled: mode.start)
    let saved = layer.forward(x, check.pass)
    layer.backward(
      saved, outputGradient: cotangent, check.pass, check.target,
      inputGradient: gradient, accumulateInput: mode == .accumulating)
    if mode == .accumulating { check.removeEarlier(from: gradient) }
    check.compare(inputs: ["x": x], inputGradients: ["x": gradient]) { values in
      let x = values.rows("x", columns: shape.dimension)
      let hidden = Reference.rectify(values.linear(x, "layer/inner"))
      return contraction(values.linear(hidden, "layer/outer"), cotangent)
    }
  }

  @Test(arguments: Mode.allCases, [(1, 2), (3, 5), (4, 16), (5, 19)])
  func layerNorm(mode: Mode, shape: (rows: Int, columns: Int)) {
    var layout = GradientCheck.layout()
    let layer = LayerNorm("layer", dimension: shape.columns, in: &layout)
    let check = GradientCheck(layout)
    let x = check.random(shape.rows, shape.columns, site: 2)
    let cotangent = check.random(shape.rows, shape.columns, site: 3)
    let gradient = check.rows(shape.rows, shape.columns, filled: mode.start)
    let saved = layer.forward(x, inPlace: false, check.pass)
    layer.backward(
      saved, outputGradient: cotangent, check.pass, check.target,
      inputGradient: gradient, accumulateInput: mode == .accumulating)
    if mode == .accumulating { check.removeEarlier(from: gradient) }
    check.compare(
      inputs: ["x": x], inputGradients: ["x": gradient], tolerance: 5e-5
    ) { values in
      contraction(
        values.layerNorm(values.rows("x", columns: shape.columns), "layer"), cotangent)
    }
  }

  /// Two micro-batches of a lane: the second adds to every parameter's gradient.
  @Test func aSecondMicroBatchAdds() {
    var layout = GradientCheck.layout()
    let layer = FeedForward("layer", dimension: 5, inner: 7, in: &layout)
    let norm = LayerNorm("norm", dimension: 5, in: &layout)
    let check = GradientCheck(layout)
    let x = check.random(3, 5, site: 2)
    let cotangent = check.random(3, 5, site: 3)
    let gradient = check.rows(3, 5, filled: .nan)
    for target in [check.target, check.secondTarget, check.secondTarget] {
      let saved = layer.forward(x, check.pass)
      let normed = norm.forward(saved.output, inPlace: false, check.pass)
      norm.backward(
        normed, outputGradient: cotangent, check.pass, target, inputGradient: gradient,
        accumulateInput: false)
      let inner = check.rows(3, 5, filled: .nan)
      layer.backward(
        saved, outputGradient: gradient, check.pass, target, inputGradient: inner,
        accumulateInput: false)
    }
    check.compare(inputs: ["x": x], inputGradients: [:], factor: 3, tolerance: 5e-5) {
      let hidden = Reference.rectify($0.linear($0.rows("x", columns: 5), "layer/inner"))
      return contraction(
        $0.layerNorm($0.linear(hidden, "layer/outer"), "norm"), cotangent)
    }
  }

  /// The connection around a projection, both norms, with and without dropout.
  @Test(arguments: [true, false], [Float(0), 0.3])
  func residual(isPostNorm: Bool, dropout: Float) {
    let (rows, dimension, site) = (5, 7, 19)
    var layout = GradientCheck.layout()
    let residual = Residual(
      "norm", dimension: dimension, isPostNorm: isPostNorm, site: site, in: &layout)
    let body = Linear("body", inputs: dimension, outputs: dimension, bias: true, in: &layout)
    let check = GradientCheck(layout, dropout: dropout)
    let pass = check.pass
    let x = check.random(rows, dimension, site: 2)
    let cotangent = check.random(rows, dimension, site: 3)
    let gradient = check.random(rows, dimension, site: 3)

    let entered = residual.enter(x, pass)
    let left = residual.leave(x, body: body.forward(entered.output, pass), pass)
    let bodyGradient = residual.leaveBackward(
      left, gradient: gradient, pass, check.target)
    let (input, accumulates) = residual.bodyInputGradient(gradient, pass)
    body.backward(
      input: entered.output, outputGradient: bodyGradient, pass, check.target,
      inputGradient: input, accumulateInput: accumulates)
    residual.enterBackward(
      entered, bodyInputGradient: input, gradient: gradient, pass, check.target)

    check.compare(
      inputs: ["x": x], inputGradients: ["x": gradient], tolerance: 5e-5
    ) { values in
      let x = values.rows("x", columns: dimension)
      let entered = isPostNorm ? x : values.layerNorm(x, "norm")
      let sum = Reference.add(
        x, dropped(values.linear(entered, "body"), probability: dropout, site: site))
      return contraction(isPostNorm ? values.layerNorm(sum, "norm") : sum, cotangent)
    }
  }
}

/// The masks `Dropout` draws at `GradientCheck.place`.
func dropped(_ x: Reference.Rows, probability: Float, site: Int) -> Reference.Rows {
  guard probability > 0 else { return x }
  let place = GradientCheck.place
  let stream = RandomStream(
    seed: place.seed, purpose: .dropout, site: site, a: place.step,
    b: place.lane << 16 | place.microBatch)
  return x.enumerated().map { row, values in
    values.enumerated().map { column, value in
      value
        * Reference.dropoutMultiplier(
          probability: probability, stream: stream, index: row * values.count + column)
    }
  }
}
