/// How a parameter starts.
package enum Initialization: Equatable, Sendable {
  /// Uniform in +-sqrt(6 / (fanIn + fanOut)). Source: Glorot and Bengio, 2010, equation 16.
  case xavierUniform
  case normal(deviation: Float)
  case constant(Float)
}

/// Where one named tensor lies in the flat parameter vector.
package struct ParameterEntry: Equatable, Sendable {
  /// Slash-separated, as in a checkpoint below `/parameters`: `encoder/layer_00/...`.
  package let name: String
  /// Row-major; a weight matrix is [output, input].
  package let shape: [Int]
  /// First element in the flat vector.
  package let offset: Int
  package let initialization: Initialization

  package var count: Int { shape.reduce(1, *) }
  package var range: Range<Int> { offset..<offset + count }
}

/// The order and extent of all parameters in one flat vector: the order of checkpoints, gradients
/// and optimizer state alike. Tensors follow each other without gaps.
package struct ParameterLayout: Equatable, Sendable {
  package private(set) var entries: [ParameterEntry] = []
  package private(set) var count = 0

  package init() {}

  /// Appends a tensor and returns where it lies.
  @discardableResult
  package mutating func append(
    _ name: String, _ shape: [Int], _ initialization: Initialization
  ) -> Range<Int> {
    let entry = ParameterEntry(
      name: name, shape: shape, offset: count, initialization: initialization)
    entries.append(entry)
    count += entry.count
    return entry.range
  }

  package subscript(name: String) -> ParameterEntry? { entries.first { $0.name == name } }
}
