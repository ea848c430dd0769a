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
  /// The longest sequence learned positions cover, special tokens included; sinusoids have no
  /// limit.
  package var maximumLength = 1024

  package init(vocabularySize: Int) { self.vocabularySize = vocabularySize }
}
