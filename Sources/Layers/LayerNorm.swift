import Tensors

/// Layer normalisation with a learned scale and bias.
package struct LayerNorm: Sendable {
  let scale: Range<Int>
  let bias: Range<Int>

  package init(_ name: String, dimension: Int, in layout: inout ParameterLayout) {
    scale = layout.append("\(name)/scale", [dimension], .constant(1))
    bias = layout.append("\(name)/bias", [dimension], .constant(0))
  }

  package struct Saved {
    let normalized: Matrix
    let reciprocalDeviation: Vector
    package let output: Matrix
  }

  /// - Parameter inPlace: whether x may be overwritten with what the backward pass needs.
  package func forward(_ x: Matrix, inPlace: Bool, _ pass: Pass) -> Saved {
    let saved = Saved(
      normalized: inPlace ? x : pass.arena.matrix(x.rows, x.columns),
      reciprocalDeviation: pass.arena.vector(x.rows),
      output: pass.arena.matrix(x.rows, x.columns))
    layerNormForward(
      x, scale: pass.weight(scale), bias: pass.weight(bias), normalized: saved.normalized,
      reciprocalDeviation: saved.reciprocalDeviation, into: saved.output)
    return saved
  }

  /// `inputGradient` may be the memory of `outputGradient` unless it accumulates.
  package func backward(
    _ saved: Saved, outputGradient: Matrix, _ pass: Pass, _ gradients: GradientTarget,
    inputGradient: Matrix, accumulateInput: Bool
  ) {
    layerNormBackward(
      outputGradient: outputGradient, normalized: saved.normalized,
      reciprocalDeviation: saved.reciprocalDeviation, scale: pass.weight(scale),
      scaleGradient: gradients.part(scale), biasGradient: gradients.part(bias),
      into: inputGradient, accumulateInput: accumulateInput,
      accumulateParameters: gradients.accumulates)
  }

  /// Floats kept from forward to backward, for `tokens` tokens.
  package func savedCount(tokens: Int, inPlace: Bool) -> Int {
    Arena.room(tokens * scale.count) * (inPlace ? 1 : 2) + Arena.room(tokens)
  }
}
