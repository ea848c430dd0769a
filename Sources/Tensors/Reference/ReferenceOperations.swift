import Core
import Foundation

/// Naive twins of the kernels, in Double and without any cleverness: what the fast ones are tested
/// against.
package enum Reference {
  /// Rows of a matrix.
  package typealias Rows = [[Double]]

  /// x W^T + b. Twin of `multiply` and `addBias`.
  package static func linear(_ x: Rows, weight: Rows, bias: [Double]? = nil) -> Rows {
    x.map { row in
      weight.enumerated().map { output, weights in
        zip(row, weights).reduce(bias?[output] ?? 0) { $0 + $1.0 * $1.1 }
      }
    }
  }

  package static func add(_ a: Rows, _ b: Rows) -> Rows {
    zip(a, b).map { zip($0, $1).map { $0 + $1 } }
  }

  package static func rectify(_ x: Rows) -> Rows { x.map { $0.map { max(0, $0) } } }

  /// Twin of `layerNormForward`.
  package static func layerNorm(_ x: Rows, scale: [Double], bias: [Double]) -> Rows {
    x.map { row in
      let mean = row.reduce(0, +) / Double(row.count)
      let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(row.count)
      let deviation = (variance + Double(layerNormEpsilon)).squareRoot()
      return row.indices.map { (row[$0] - mean) / deviation * scale[$0] + bias[$0] }
    }
  }

  /// Twin of `softmaxRows` for one row.
  package static func softmax(_ x: [Double]) -> [Double] {
    let peak = x.max() ?? 0
    let exponentials = x.map { exp($0 - peak) }
    let total = exponentials.reduce(0, +)
    return exponentials.map { $0 / total }
  }

  /// Scaled dot-product attention of one sequence. Twin of `MultiHeadAttention` between its
  /// projections.
  package static func attention(
    query: Rows, key: Rows, value: Rows, heads: Int, causal: Bool
  ) -> Rows {
    let keyDimension = (query.first?.count ?? 0) / heads
    let valueDimension = (value.first?.count ?? 0) / heads
    let factor = 1 / Double(keyDimension).squareRoot()
    return query.enumerated().map { i, q in
      (0..<heads).flatMap { head -> [Double] in
        let columns = head * keyDimension..<(head + 1) * keyDimension
        let visible = causal ? Array(key[...i]) : key
        let weights = softmax(
          visible.map { k in columns.reduce(0) { $0 + q[$1] * k[$1] } * factor })
        return (head * valueDimension..<(head + 1) * valueDimension).map { column in
          zip(weights, value).reduce(0) { $0 + $1.0 * $1.1[column] }
        }
      }
    }
  }

  /// Sum over rows of the label-smoothed cross entropy. Twin of `crossEntropy`.
  package static func crossEntropy(_ logits: Rows, targets: [Int32], smoothing: Double) -> Double {
    zip(logits, targets).reduce(0) { sum, row in
      let logProbabilities = softmax(row.0).map { log($0) }
      let uniform = logProbabilities.reduce(0, +) / Double(logProbabilities.count)
      return sum - (1 - smoothing) * logProbabilities[Int(row.1)] - smoothing * uniform
    }
  }

  /// The factor `Dropout` gives element `index`. Twin of `Dropout.apply`.
  package static func dropoutMultiplier(
    probability: Float, stream: RandomStream, index: Int
  ) -> Double {
    let (group, part, lane) = (index / 64, index % 64 / 16, index % 16)
    let block = stream.block(group * 8 + lane / 2)
    let word = block[part % 2 * 2 + lane % 2]
    let bits = part < 2 ? word & 0xFFFF : word >> 16
    return bits < UInt32((probability * 65536).rounded()) ? 0 : Double(1 / (1 - probability))
  }
}
