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
      w: Wide(loading: w + i), g: Wide(loading: g + i), m: Wide(loading: m + i),
      v: Wide(loading: v + i), coefficients)
    nextW.store(to: w + i)
    nextM.store(to: m + i)
    nextV.store(to: v + i)
    i += 16
  }
  // The tail runs through the same lanes with the same operations; empty lanes are dropped.
  let rest = n - i
  if rest > 0 {
    let (nextW, nextM, nextV) = adamElements(
      w: Wide(loading: w + i, first: rest), g: Wide(loading: g + i, first: rest),
      m: Wide(loading: m + i, first: rest), v: Wide(loading: v + i, first: rest), coefficients)
    nextW.store(to: w + i, first: rest)
    nextM.store(to: m + i, first: rest)
    nextV.store(to: v + i, first: rest)
  }
}

@inline(__always) private func adamElements(
  w: Wide, g: Wide, m: Wide, v: Wide, _ c: AdamCoefficients
) -> (w: Wide, m: Wide, v: Wide) {
  let scaled = g * c.gradientScale
  let m = m * c.beta1 + scaled * c.oneMinusBeta1
  let v = v * c.beta2 + (scaled * scaled) * c.oneMinusBeta2
  let denominator = lockstep_square_root(v * c.secondMomentCorrection) + c.epsilon
  return (w * c.weightFactor - (m * c.stepSize) / denominator, m, v)
}
