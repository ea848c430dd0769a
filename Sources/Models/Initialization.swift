import Core
import Foundation
import Layers
import Tensors

extension ParameterLayout {
  /// Fills `weights` with initial values; each is a function of seed, tensor name and element, so
  /// that the order of the tensors decides nothing.
  ///
  /// Source: Glorot and Bengio, 2010, for weight matrices; zero biases, unit norm scales.
  ///
  /// - Parameter range: which part is filled: whole tensors, all of them by default.
  package func initialize(_ weights: Vector, in range: Range<Int>? = nil, seed: UInt64) {
    precondition(weights.count == count, "the vector does not fit the layout")
    for entry in entries where range?.contains(entry.offset) ?? true {
      let part = weights[entry.range]
      let name = Digest(of: entry.name).low
      let stream = RandomStream(
        seed: seed, purpose: .initialWeights, site: 0, a: Int(name & 0xFFFF_FFFF),
        b: Int(name >> 32))
      switch entry.initialization {
      case .constant(let value): part.fill(value)
      case .xavierUniform:
        precondition(entry.shape.count == 2, "a weight matrix has two dimensions")
        let bound = (6 / Double(entry.shape[0] + entry.shape[1])).squareRoot()
        for i in 0..<part.count {
          part.base[i] = Float((2 * stream.uniform(at: i) - 1) * bound)
        }
      case .normal(let deviation):
        // Box-Muller: one normal draw from the two uniform draws of one block.
        for i in 0..<part.count {
          let radius = (-2 * log(1 - stream.uniform(at: 2 * i))).squareRoot()
          let angle = 2 * Double.pi * stream.uniform(at: 2 * i + 1)
          part.base[i] = Float(radius * cos(angle)) * deviation
        }
      }
    }
  }
}
