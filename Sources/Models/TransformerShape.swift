import Core

/// The dimensions of an encoder-decoder Transformer; the defaults are the paper's base model.
///
/// Source: "Attention Is All You Need", table 3. Departures are opt-in: `norm: .pre`, learned
/// positions (row E) and attention biases.
package struct TransformerShape: Equatable, Sendable {
  package enum Norm: String, CaseIterable, Sendable { case post, pre }
  package enum Positions: String, CaseIterable, Sendable { case sinusoidal, learned }

  package var vocabularySize: Int
  package var encoderLayers = 6
  package var decoderLayers = 6
  /// d_model.
  package var dimension = 512
  /// d_ff.
  package var feedForwardDimension = 2048
  package var heads = 8
  /// d_k of one head.
  package var keyDimension = 64
  /// d_v of one head.
  package var valueDimension = 64
  package var norm = Norm.post
  package var positions = Positions.sinusoidal
  package var attentionBias = false
  /// The longest sequence learned positions cover, special tokens included; sinusoids have no limit.
  package var maximumLength = 1024

  package init(vocabularySize: Int) { self.vocabularySize = vocabularySize }
}

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

/// The order and extent of all parameters in one flat vector: the order of checkpoints, gradients and
/// optimizer state alike. Tensors follow each other without gaps.
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
