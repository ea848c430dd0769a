import Foundation

/// The learning rate of every step, counted from 1.
///
/// Warm-up is linear from 0 at step 0 to `peak` at step `warmupSteps`; without warm-up (0) a
/// schedule starts at its peak.
package enum LearningRateSchedule: Sendable, Equatable {
  /// factor d^-0.5 min(s^-0.5, s w^-1.5).
  ///
  /// Source: Vaswani et al., "Attention Is All You Need" (2017), section 5.3; `factor` is 1 there.
  case noam(dimension: Int, warmupSteps: Int, factor: Double)

  /// peak sqrt(w / s) after warm-up; without warm-up peak / sqrt(s).
  case inverseSquareRoot(peak: Double, warmupSteps: Int)

  /// A straight line from the peak at the end of warm-up to `final` at `totalSteps`.
  case linear(peak: Double, warmupSteps: Int, totalSteps: Int, final: Double)

  /// Half a cosine from the peak at the end of warm-up to `final` at `totalSteps`.
  ///
  /// Source: Loshchilov, Hutter, "SGDR" (2017), equation 5, without restarts.
  case cosine(peak: Double, warmupSteps: Int, totalSteps: Int, final: Double)

  case constant(peak: Double, warmupSteps: Int)

  /// The learning rate of a step; steps past `totalSteps` keep `final`.
  package func rate(step: Int) -> Double {
    precondition(step >= 1, "steps are counted from 1")
    let s = Double(step)
    switch self {
    case .noam(let dimension, let warmupSteps, let factor):
      let w = Double(max(1, warmupSteps))
      return factor / Double(dimension).squareRoot()
        * min(1 / s.squareRoot(), s / (w * w.squareRoot()))
    case .inverseSquareRoot(let peak, let warmupSteps):
      if step < warmupSteps { return peak * s / Double(warmupSteps) }
      return peak * (Double(max(1, warmupSteps)) / s).squareRoot()
    case .linear(let peak, let warmupSteps, let totalSteps, let final):
      if step < warmupSteps { return peak * s / Double(warmupSteps) }
      let progress = Self.progress(step, from: warmupSteps, to: totalSteps)
      return peak + (final - peak) * progress
    case .cosine(let peak, let warmupSteps, let totalSteps, let final):
      if step < warmupSteps { return peak * s / Double(warmupSteps) }
      let progress = Self.progress(step, from: warmupSteps, to: totalSteps)
      return final + (peak - final) * 0.5 * (1 + cos(.pi * progress))
    case .constant(let peak, let warmupSteps):
      return step < warmupSteps ? peak * s / Double(warmupSteps) : peak
    }
  }

  /// How much of the way from the end of warm-up to the last step is done, in 0...1.
  private static func progress(_ step: Int, from start: Int, to end: Int) -> Double {
    step >= end ? 1 : Double(step - start) / Double(end - start)
  }
}
