import Core
import Layers
import Tensors
import Testing

/// A layer in Float beside its twin in Double: the analytic gradient of sum(output * cotangent)
/// against central differences of the twin.
final class GradientCheck {
  /// Named values a layer depends on: its parameters under the layout's names, and its inputs.
  typealias Values = [String: [Double]]

  let layout: ParameterLayout
  private let weightStorage: FloatBuffer
  private let gradientStorage: FloatBuffer
  private let inputs = Arena(capacity: 1 << 16)
  private let arena = Arena(capacity: 1 << 16)
  private let scratch = Arena(capacity: 1 << 16)
  private let dropout: Dropout
  /// Where masks are drawn.
  static let place = Pass.Place(seed: 5, step: 3, lane: 2, microBatch: 1)

  /// The layer's parameters lie behind an odd number of others, and gradients in a buffer that
  /// begins there, so that a mistaken place cannot go unnoticed.
  static let origin = 7

  init(_ layout: ParameterLayout, dropout: Float = 0) {
    self.layout = layout
    self.dropout = Dropout(probability: dropout)
    weightStorage = FloatBuffer(count: layout.count)
    gradientStorage = FloatBuffer(count: layout.count - Self.origin)
    Self.randomize(weightStorage.view, site: 1)
    gradientStorage.view.fill(.nan)
  }

  /// A layout whose first tensor is not the layer's.
  static func layout() -> ParameterLayout {
    var layout = ParameterLayout()
    layout.append("unrelated", [origin], .constant(0))
    return layout
  }

  /// Uniform in -1...1.
  private static func randomize(_ vector: Vector, site: Int) {
    let stream = RandomStream(seed: 17, purpose: .sampling, site: site)
    for i in 0..<vector.count { vector.base[i] = Float(2 * stream.uniform(at: i) - 1) }
  }

  /// Random rows; they live as long as the check.
  func random(_ rows: Int, _ columns: Int, site: Int) -> Matrix {
    let matrix = inputs.matrix(rows, columns)
    Self.randomize(matrix.vector, site: site)
    return matrix
  }

  /// Rows with `value` everywhere; they live as long as the check.
  func rows(_ rows: Int, _ columns: Int, filled value: Float) -> Matrix {
    let matrix = inputs.matrix(rows, columns)
    matrix.vector.fill(value)
    return matrix
  }

  /// What a gradient that is added to holds everywhere before: not zero, so that overwriting it
  /// shows.
  static let earlier: Float = 0.5

  /// Leaves what was added to `earlier`.
  func removeEarlier(from matrix: Matrix) {
    for i in 0..<matrix.vector.count { matrix.base[i] -= Self.earlier }
  }

  var pass: Pass {
    Pass(
      weights: weightStorage.view, arena: arena, scratch: scratch, dropout: dropout,
      place: Self.place)
  }

  /// Overwrites NaN: what a layer does not write shows.
  var target: GradientTarget {
    GradientTarget(gradientStorage.view, origin: Self.origin, accumulates: false)
  }

  /// Adds to what `target` received.
  var secondTarget: GradientTarget { target.accumulating }

  /// The parameters in Double, by name.
  var parameters: Values {
    var values: Values = [:]
    for entry in layout.entries where entry.name != "unrelated" {
      values[entry.name] = weightStorage.view[entry.range].array.map(Double.init)
    }
    return values
  }

  /// Compares the gradients of parameters, expected to be `factor` times those of `twin`, and of
  /// inputs with central differences of `twin`.
  ///
  /// - Parameters:
  ///   - inputs: the layer's inputs by name.
  ///   - inputGradients: their analytic gradients, by the same names.
  ///   - twin: sum(output * cotangent) in Double for parameters and inputs by name.
  func compare(
    inputs: [String: Matrix], inputGradients: [String: Matrix], factor: Double = 1,
    tolerance: Double = 1e-5, twin: (Values) -> Double
  ) {
    var values = parameters
    var analytic: [String: [Float]] = [:]
    for entry in layout.entries where entry.name != "unrelated" {
      analytic[entry.name] = target.part(entry.range).array
    }
    for (name, matrix) in inputs { values[name] = matrix.vector.array.map(Double.init) }
    var scales = Dictionary(uniqueKeysWithValues: analytic.keys.map { ($0, factor) })
    for (name, matrix) in inputGradients {
      analytic[name] = matrix.vector.array
      scales[name] = 1
    }
    for (name, gradient) in analytic {
      for index in gradient.indices {
        let expected = (scales[name] ?? 1) * difference(name, index, &values, twin)
        let error = abs(Double(gradient[index]) - expected)
        // Written so that NaN, an element nobody wrote, fails.
        #expect(
          error <= tolerance * max(1, abs(expected)),
          "\(name)[\(index)]: \(gradient[index]) for \(expected)")
      }
    }
  }

  /// Central difference with a step that leaves a relative error near 1e-9 in Double.
  private func difference(
    _ name: String, _ index: Int, _ values: inout Values, _ twin: (Values) -> Double
  ) -> Double {
    guard let original = values[name]?[index] else { return .nan }
    let step = 1e-5
    values[name]?[index] = original + step
    let above = twin(values)
    values[name]?[index] = original - step
    let below = twin(values)
    values[name]?[index] = original
    return (above - below) / (2 * step)
  }
}

extension GradientCheck.Values {
  func rows(_ name: String, columns: Int) -> Reference.Rows {
    let values = self[name] ?? []
    return stride(from: 0, to: values.count, by: columns).map {
      Array(values[$0..<$0 + columns])
    }
  }

  func vector(_ name: String) -> [Double] { self[name] ?? [] }

  /// y = x W^T + b with the parameters of a `Linear` called `name`.
  func linear(_ x: Reference.Rows, _ name: String) -> Reference.Rows {
    Reference.linear(
      x, weight: rows("\(name)/weight", columns: x.first?.count ?? 1), bias: self["\(name)/bias"])
  }

  func layerNorm(_ x: Reference.Rows, _ name: String) -> Reference.Rows {
    Reference.layerNorm(x, scale: vector("\(name)/scale"), bias: vector("\(name)/bias"))
  }
}

/// sum(output * cotangent).
func contraction(_ output: Reference.Rows, _ cotangent: Matrix) -> Double {
  output.enumerated().reduce(0) { sum, row in
    zip(row.element, cotangent[row.offset].array).reduce(sum) { $0 + $1.0 * Double($1.1) }
  }
}
