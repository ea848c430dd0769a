import Tensors

/// Limits the norm of the whole gradient.
package enum GradientClipping {
  /// min(1, limit / norm): what to multiply the gradient by; a limit of 0 switches clipping off.
  package static func scale(norm: Double, limit: Double) -> Double {
    limit > 0 && norm > limit ? limit / norm : 1
  }

  /// The Euclidean norm of a gradient from its chunks' sums of squares, in chunk order.
  ///
  /// Order: a balanced tree over chunk numbers, so that who summed which chunk does not matter.
  package static func norm(chunkSums: [Double]) -> Double {
    balancedTreeSum(chunkSums).squareRoot()
  }
}

/// The sum of values in a fixed order: neighbours in pairs, then the pair sums in pairs, and so on;
/// an odd last value moves up alone. Without values 0.
package func balancedTreeSum(_ values: [Double]) -> Double {
  var level = values
  while level.count > 1 {
    level = stride(from: 0, to: level.count, by: 2).map { i in
      i + 1 < level.count ? level[i] + level[i + 1] : level[i]
    }
  }
  return level.first ?? 0
}
