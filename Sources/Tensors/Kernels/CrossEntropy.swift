import Foundation

/// Sums of a loss over target tokens.
package struct LossSum: Equatable, Sendable {
  /// Cross entropy against the smoothed targets, in nats: what training minimises.
  package var smoothed = 0.0
  /// Negative log-likelihood of the targets themselves, in nats; its mean's exponential is the
  /// perplexity.
  package var negativeLogLikelihood = 0.0
  package var tokens = 0

  package init() {}

  package static func += (left: inout LossSum, right: LossSum) {
    left.smoothed += right.smoothed
    left.negativeLogLikelihood += right.negativeLogLikelihood
    left.tokens += right.tokens
  }
}

/// Cross entropy of rows of logits against targets with label smoothing; logits become the
/// gradient.
///
/// The target distribution is (1 - eps) on the target plus eps / V on every class.
/// Equation: loss = lse(x) - (1 - eps) x_target - eps / V * sum_k x_k;
/// gradient_k = gradientScale * (softmax(x)_k - eps / V - (1 - eps) [k = target]). NaN or +infinity
/// in a row makes its loss and its whole gradient NaN; -infinity may leave the gradient finite.
/// Source: Szegedy et al., 2015, section 7; "Attention Is All You Need", section 5.4 (eps 0.1).
/// Tensor2Tensor spreads eps over the V - 1 wrong classes instead.
/// Shapes: logits [rows, V], targets [rows]. Order: rows ascending, their sum in Double;
/// within a row sixteen sums in Float.
package func crossEntropy(
  logits: Matrix, targets: ArraySlice<Int32>, smoothing: Float, gradientScale: Float?
) -> LossSum {
  precondition(targets.count == logits.rows, "one target a row")
  let n = logits.columns
  let uniform = smoothing / Float(n)
  var result = LossSum()
  for (row, target) in targets.enumerated() {
    precondition(target >= 0 && Int(target) < n, "target outside of the vocabulary")
    let x = logits.base + row * logits.stride
    let atTarget = Double(x[Int(target)])
    let (peak, sum) = maximumAndSum(x, n)
    let total = exponentiate(x, n, minus: peak)
    let normalizer = Double(peak) + log(Double(total))
    result.negativeLogLikelihood += normalizer - atTarget
    result.smoothed +=
      normalizer - Double(1 - smoothing) * atTarget - Double(smoothing) / Double(n) * Double(sum)
    result.tokens += 1
    guard let gradientScale else { continue }
    let factor = gradientScale / total
    let offset = gradientScale * uniform
    forEachWide(n) { i in
      (Wide(loading: x + i) * factor - offset).store(to: x + i)
    } tail: { i in
      x[i] = x[i] * factor - offset
    }
    x[Int(target)] -= gradientScale * (1 - smoothing)
  }
  return result
}
