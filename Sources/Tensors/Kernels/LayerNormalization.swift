/// Added to the variance under the root.
package let layerNormEpsilon: Float = 1e-5

/// y = scale * xhat + bias, xhat = (x - mean) / sqrt(variance + epsilon), row by row.
///
/// Keeps what the backward pass needs: `normalized` (xhat; may be the memory of x) and the
/// reciprocal deviation of each row.
/// Source: Ba, Kiros, Hinton, "Layer Normalization", 2016.
/// Shapes: x, normalized, y [rows, n]; scale, bias [n]; reciprocalDeviation [rows].
package func layerNormForward(
  _ x: Matrix, scale: Vector, bias: Vector, normalized: Matrix, reciprocalDeviation: Vector,
  into y: Matrix
) {
  let n = x.columns
  precondition(scale.count == n && bias.count == n, "one scale and bias a column")
  precondition(normalized.rows == x.rows && normalized.columns == n, "shapes differ")
  precondition(y.rows == x.rows && y.columns == n, "shapes differ")
  precondition(reciprocalDeviation.count == x.rows, "one deviation a row")
  let inverseCount = 1 / Float(n)
  for row in 0..<x.rows {
    let input = x.base + row * x.stride
    let xhat = normalized.base + row * normalized.stride
    let output = y.base + row * y.stride
    let mean = sum(input, n) * inverseCount
    let variance = sumOfSquaredDeviations(input, n, from: mean) * inverseCount
    let r = 1 / (variance + layerNormEpsilon).squareRoot()
    reciprocalDeviation.base[row] = r
    forEachWide(n) { i in
      let value = (Wide(loading: input + i) - mean) * r
      value.store(to: xhat + i)
      Wide(loading: bias.base + i).addingProduct(value, Wide(loading: scale.base + i))
        .store(to: output + i)
    } tail: { i in
      let value = (input[i] - mean) * r
      xhat[i] = value
      output[i] = bias.base[i].addingProduct(value, scale.base[i])
    }
  }
}

/// The gradient of `layerNormForward`.
///
/// Equation: dx = r * (g - mean(g) - xhat * mean(g * xhat)) with g = scale * dy.
/// Writes: inputGradient (overwritten, or accumulated when `accumulateInput`; may be the memory of
/// outputGradient), scaleGradient and biasGradient (overwritten, or accumulated when
/// `accumulateParameters`). Order: rows ascending.
package func layerNormBackward(
  outputGradient: Matrix, normalized: Matrix, reciprocalDeviation: Vector, scale: Vector,
  scaleGradient: Vector, biasGradient: Vector, into inputGradient: Matrix,
  accumulateInput: Bool, accumulateParameters: Bool
) {
  let n = outputGradient.columns
  precondition(normalized.columns == n && inputGradient.columns == n && scale.count == n)
  precondition(
    normalized.rows == outputGradient.rows && inputGradient.rows == outputGradient.rows
      && reciprocalDeviation.count == outputGradient.rows, "row counts differ")
  precondition(scaleGradient.count == n && biasGradient.count == n, "one gradient a column")
  if !accumulateParameters {
    scaleGradient.fill(0)
    biasGradient.fill(0)
  }
  let inverseCount = 1 / Float(n)
  for row in 0..<outputGradient.rows {
    let dy = outputGradient.base + row * outputGradient.stride
    let xhat = normalized.base + row * normalized.stride
    let dx = inputGradient.base + row * inputGradient.stride
    var meanG: Float = 0
    var meanGX: Float = 0
    var sumG = Wide(repeating: 0)
    var sumGX = Wide(repeating: 0)
    forEachWide(n) { i in
      let d = Wide(loading: dy + i)
      let h = Wide(loading: xhat + i)
      let g = d * Wide(loading: scale.base + i)
      sumG += g
      sumGX.addProduct(g, h)
      Wide(loading: scaleGradient.base + i).addingProduct(d, h).store(to: scaleGradient.base + i)
      (Wide(loading: biasGradient.base + i) + d).store(to: biasGradient.base + i)
    } tail: { i in
      let g = dy[i] * scale.base[i]
      meanG += g
      meanGX += g * xhat[i]
      scaleGradient.base[i] += dy[i] * xhat[i]
      biasGradient.base[i] += dy[i]
    }
    meanG = (meanG + sumG.total) * inverseCount
    meanGX = (meanGX + sumGX.total) * inverseCount
    let r = reciprocalDeviation.base[row]
    forEachWide(n) { i in
      let g = Wide(loading: dy + i) * Wide(loading: scale.base + i) - meanG
      let value = (g - Wide(loading: xhat + i) * meanGX) * r
      (accumulateInput ? Wide(loading: dx + i) + value : value).store(to: dx + i)
    } tail: { i in
      let value = (dy[i] * scale.base[i] - meanG - xhat[i] * meanGX) * r
      dx[i] = accumulateInput ? dx[i] + value : value
    }
  }
}

@inline(__always) private func sum(_ x: UnsafeMutablePointer<Float>, _ n: Int) -> Float {
  var wide = Wide(repeating: 0)
  var rest: Float = 0
  forEachWide(n) { i in
    wide += Wide(loading: x + i)
  } tail: { i in
    rest += x[i]
  }
  return wide.total + rest
}

@inline(__always) private func sumOfSquaredDeviations(
  _ x: UnsafeMutablePointer<Float>, _ n: Int, from mean: Float
) -> Float {
  var wide = Wide(repeating: 0)
  var rest: Float = 0
  forEachWide(n) { i in
    let d = Wide(loading: x + i) - mean
    wide.addProduct(d, d)
  } tail: { i in
    let d = x[i] - mean
    rest += d * d
  }
  return wide.total + rest
}
