import Foundation

/// What a hypothesis's log-probability is divided by, so that longer ones are not at a
/// disadvantage.
///
/// `length` counts the tokens after begin-of-sequence, end-of-sequence included.
/// Source: Wu et al., 2016, equation 14 (the paper's, as in Tensor2Tensor), and n^alpha as in
/// fairseq and Marian. The same alpha means different things in the two.
package enum LengthPenalty: Equatable, Sendable {
  /// ((5 + n) / 6)^alpha.
  case paper(alpha: Double)
  /// n^alpha.
  case power(alpha: Double)

  package var alpha: Double {
    switch self {
    case .paper(let alpha), .power(let alpha): alpha
    }
  }

  package func value(length: Int) -> Double {
    switch self {
    case .paper(let alpha): pow(Double(5 + length) / 6, alpha)
    case .power(let alpha): pow(Double(length), alpha)
    }
  }
}
