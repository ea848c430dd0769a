import CInstructions

/// What one Adam step needs to know, the same for every parameter.
package struct AdamCoefficients: Sendable, Equatable {
  package var beta1: Float
  package var beta2: Float
  /// 1 - beta1 and 1 - beta2, rounded once from double precision.
  package var oneMinusBeta1: Float
  package var oneMinusBeta2: Float
  package var epsilon: Float
  /// Learning rate / (1 - beta1^t).
  package var stepSize: Float
  /// 1 / (1 - beta2^t).
  package var secondMomentCorrection: Float
  /// 1 - learning rate * weight decay; 1 without decay.
  package var weightFactor: Float
  /// Multiplies every gradient first (clipping); 1 for none.
  package var gradientScale: Float

  package init(
    beta1: Float, beta2: Float, oneMinusBeta1: Float, oneMinusBeta2: Float, epsilon: Float,
    stepSize: Float, secondMomentCorrection: Float, weightFactor: Float, gradientScale: Float
  ) {
    self.beta1 = beta1
    self.beta2 = beta2
    self.oneMinusBeta1 = oneMinusBeta1
    self.oneMinusBeta2 = oneMinusBeta2
    self.epsilon = epsilon
    self.stepSize = stepSize
    self.secondMomentCorrection = secondMomentCorrection
    self.weightFactor = weightFactor
    self.gradientScale = gradientScale
  }
}

/// One Adam step over a span of parameters.
///
/// Equation: g' = scale g; m = beta1 m + (1 - beta1) g'; v = beta2 v + (1 - beta2) g'^2;
/// w = factor w - stepSize m / (sqrt(correction v) + epsilon).
/// Shapes: all four [n].
/// Writes: weights and both moments in place.
/// Order: element by element and without fused multiply-add, so that the result does not depend on
/// where a span begins or ends.
package func adamUpdate(
  weights: Vector, gradient: Vector, firstMoment: Vector, secondMoment: Vector,
  _ coefficients: AdamCoefficients
) {
  let n = weights.count
  precondition(
    gradient.count == n && firstMoment.count == n && secondMoment.count == n,
    "weights, gradient and moments belong to the same parameters")
  let w = weights.base
  let g = gradient.base
  let m = firstMoment.base
  let v = secondMoment.base
  var i = 0
  while i + 16 <= n {
    let (nextW, nextM, nextV) = adamElements(
      w: load(w + i), g: load(g + i), m: load(m + i), v: load(v + i), coefficients)
    store(nextW, to: w + i)
    store(nextM, to: m + i)
    store(nextV, to: v + i)
    i += 16
  }
  // The tail runs through the same lanes with the same operations; empty lanes are dropped.
  if i < n {
    let (nextW, nextM, nextV) = adamElements(
      w: load(w + i, first: n - i), g: load(g + i, first: n - i), m: load(m + i, first: n - i),
      v: load(v + i, first: n - i), coefficients)
    for lane in 0..<n - i {
      w[i + lane] = nextW[lane]
      m[i + lane] = nextM[lane]
      v[i + lane] = nextV[lane]
    }
  }
}

@inline(__always) private func adamElements(
  w: SIMD16<Float>, g: SIMD16<Float>, m: SIMD16<Float>, v: SIMD16<Float>, _ c: AdamCoefficients
) -> (w: SIMD16<Float>, m: SIMD16<Float>, v: SIMD16<Float>) {
  let scaled = g * c.gradientScale
  let m = m * c.beta1 + scaled * c.oneMinusBeta1
  let v = v * c.beta2 + (scaled * scaled) * c.oneMinusBeta2
  let denominator = lockstep_square_root(v * c.secondMomentCorrection) + c.epsilon
  return (w * c.weightFactor - (m * c.stepSize) / denominator, m, v)
}

@inline(__always) private func load(_ pointer: UnsafeMutablePointer<Float>) -> SIMD16<Float> {
  UnsafeRawPointer(pointer).loadUnaligned(as: SIMD16<Float>.self)
}

@inline(__always) private func load(
  _ pointer: UnsafeMutablePointer<Float>, first count: Int
) -> SIMD16<Float> {
  var lanes = SIMD16<Float>.zero
  for lane in 0..<count { lanes[lane] = pointer[lane] }
  return lanes
}

@inline(__always) private func store(
  _ lanes: SIMD16<Float>, to pointer: UnsafeMutablePointer<Float>
) {
  UnsafeMutableRawPointer(pointer).storeBytes(of: lanes, as: SIMD16<Float>.self)
}
