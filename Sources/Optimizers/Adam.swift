import Tensors

/// Adam, with decoupled weight decay if there is any (AdamW).
///
/// Source: Kingma, Ba, "Adam" (2015), algorithm 1; Loshchilov, Hutter, "Decoupled Weight Decay
/// Regularization" (2019), algorithm 2, decay scaled by the learning rate. The defaults are those
/// of Vaswani et al. (2017), section 5.3.
package struct Adam: Sendable, Equatable {
  package var beta1: Double
  package var beta2: Double
  package var epsilon: Double
  package var weightDecay: Double

  package init(
    beta1: Double = 0.9, beta2: Double = 0.98, epsilon: Double = 1e-9, weightDecay: Double = 0
  ) {
    precondition(0..<1 ~= beta1 && 0..<1 ~= beta2, "decay rates of moments lie in 0..<1")
    self.beta1 = beta1
    self.beta2 = beta2
    self.epsilon = epsilon
    self.weightDecay = weightDecay
  }

  /// One step over a span of parameters and their moments; see `adamUpdate` for the equation.
  ///
  /// - Parameters:
  ///   - step: counted from 1; corrects the bias of moments that began at zero.
  ///   - gradientScale: multiplies the gradient first, e.g. by what clipping asks for.
  package func update(
    weights: Vector, gradient: Vector, firstMoment: Vector, secondMoment: Vector, step: Int,
    learningRate: Double, gradientScale: Double = 1
  ) {
    adamUpdate(
      weights: weights, gradient: gradient, firstMoment: firstMoment, secondMoment: secondMoment,
      coefficients(step: step, learningRate: learningRate, gradientScale: gradientScale))
  }

  /// The numbers of a step, in double precision until they are rounded once for the kernel.
  package func coefficients(
    step: Int, learningRate: Double, gradientScale: Double = 1
  ) -> AdamCoefficients {
    precondition(step >= 1, "steps are counted from 1")
    return AdamCoefficients(
      beta1: Float(beta1), beta2: Float(beta2), oneMinusBeta1: Float(1 - beta1),
      oneMinusBeta2: Float(1 - beta2), epsilon: Float(epsilon),
      stepSize: Float(learningRate / (1 - Self.power(beta1, step))),
      secondMomentCorrection: Float(1 / (1 - Self.power(beta2, step))),
      weightFactor: Float(1 - learningRate * weightDecay), gradientScale: Float(gradientScale))
  }

  /// By repeated squaring: the bits must not depend on which `pow` a machine has.
  private static func power(_ base: Double, _ exponent: Int) -> Double {
    var result = 1.0
    var square = base
    var rest = exponent
    while rest > 0 {
      if rest & 1 == 1 { result *= square }
      square *= square
      rest >>= 1
    }
    return result
  }
}
