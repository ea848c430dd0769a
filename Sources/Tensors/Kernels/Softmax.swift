/// Row-wise softmax in place over the first `visible(row)` columns; the columns behind become zero.
///
/// Equation: p_j = exp(x_j - max x) / sum_k exp(x_k - max x). NaN or +infinity anywhere, or nothing
/// but -infinity, makes all visible columns NaN, so that the guard of the update sees it.
/// Shapes: matrix [rows, n]; with `causal`, row i sees columns 0 ... i, otherwise all.
package func softmaxRows(_ matrix: Matrix, causal: Bool) {
  for row in 0..<matrix.rows {
    let visible = causal ? min(row + 1, matrix.columns) : matrix.columns
    let x = matrix.base + row * matrix.stride
    softmax(x, visible)
    for column in visible..<matrix.columns { x[column] = 0 }
  }
}

/// gradient = p * (gradient - sum(p * gradient)), row by row in place.
///
/// With `causal` only columns 0 ... row are read; those behind become zero.
/// Shapes: probabilities and gradient [rows, n].
package func softmaxRowsBackward(probabilities: Matrix, gradient: Matrix, causal: Bool) {
  precondition(probabilities.rows == gradient.rows && probabilities.columns == gradient.columns)
  for row in 0..<gradient.rows {
    let visible = causal ? min(row + 1, gradient.columns) : gradient.columns
    let p = probabilities.base + row * probabilities.stride
    let g = gradient.base + row * gradient.stride
    var wide = Wide(repeating: 0)
    var rest: Float = 0
    forEachWide(visible) { i in
      wide.addProduct(Wide(loading: p + i), Wide(loading: g + i))
    } tail: { i in
      rest += p[i] * g[i]
    }
    let mean = wide.total + rest
    forEachWide(visible) { i in
      (Wide(loading: p + i) * (Wide(loading: g + i) - mean)).store(to: g + i)
    } tail: { i in
      g[i] = p[i] * (g[i] - mean)
    }
    for column in visible..<gradient.columns { g[column] = 0 }
  }
}

/// Softmax of `n` floats in place.
@inline(__always) func softmax(_ x: UnsafeMutablePointer<Float>, _ n: Int) {
  let peak = maximum(x, n)
  let total = exponentiate(x, n, minus: peak)
  let inverse = 1 / total
  forEachWide(n) { i in
    (Wide(loading: x + i) * inverse).store(to: x + i)
  } tail: { i in
    x[i] *= inverse
  }
}

@inline(__always) func maximum(_ x: UnsafeMutablePointer<Float>, _ n: Int) -> Float {
  // The sum nobody asks for is not computed: this is inlined.
  maximumAndSum(x, n).maximum
}

/// Both in one pass. NaN is no maximum; `exponentiate` brings it back.
@inline(__always) func maximumAndSum(
  _ x: UnsafeMutablePointer<Float>, _ n: Int
) -> (maximum: Float, sum: Float) {
  var peak = Wide(repeating: -.infinity)
  var sum = Wide(repeating: 0)
  var restPeak = -Float.infinity
  var restSum: Float = 0
  forEachWide(n) { i in
    let value = Wide(loading: x + i)
    peak = peak.replacing(with: value, where: value .> peak)
    sum += value
  } tail: { i in
    if x[i] > restPeak { restPeak = x[i] }
    restSum += x[i]
  }
  let widest = peak.largest
  return (widest > restPeak ? widest : restPeak, sum.total + restSum)
}

/// x = exp(x - shift) in place; returns the sum.
@inline(__always) func exponentiate(
  _ x: UnsafeMutablePointer<Float>, _ n: Int, minus shift: Float
) -> Float {
  var sum = Wide(repeating: 0)
  var i = 0
  while i &+ 16 <= n {
    let value = (Wide(loading: x + i) - shift).exponential
    value.store(to: x + i)
    sum += value
    i &+= 16
  }
  if i < n {
    let rest = n &- i
    // Lanes behind the end hold exp(0 - shift) and are replaced by zero before the sum.
    var value = (Wide(loading: UnsafePointer(x + i), first: rest) - shift).exponential
    value.store(to: x + i, first: rest)
    for lane in rest..<16 { value[lane] = 0 }
    sum += value
  }
  return sum.total
}
