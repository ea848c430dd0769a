import Core
import Layers
import Tensors

/// The encoder-decoder Transformer: which parameters it has, how a micro-batch runs through it
/// forward and backward.
///
/// Source: "Attention Is All You Need". Holds no weights: they come with each `Pass`.
package struct Transformer: Sendable {
  package let shape: TransformerShape
  package let layout: ParameterLayout
  let embedding: TokenEmbedding
  let sourceEmbedding: InputEmbedding
  let targetEmbedding: InputEmbedding
  let encoder: [EncoderBlock]
  let decoder: [DecoderBlock]
  /// Pre-norm only: the norms behind the last blocks.
  let finalNorms: (encoder: LayerNorm, decoder: LayerNorm)?

  /// - Parameter longestSequence: how many positions the sinusoids cover at least; learned
  ///   positions cover `shape.maximumLength`, always.
  package init(_ shape: TransformerShape, longestSequence: Int = 0) {
    precondition(shape.decoderLayers > 0, "a Transformer has at least one decoder layer")
    var layout = ParameterLayout()
    let sinusoids =
      shape.positions == .sinusoidal
      ? SinusoidTable(rows: max(1, longestSequence), dimension: shape.dimension) : nil
    func positions(_ side: String) -> PositionEncoding {
      if let sinusoids { return .sinusoidal(sinusoids) }
      let range = layout.append(
        "\(side)/positions/weight", [shape.maximumLength, shape.dimension],
        .normal(deviation: 1 / Float(shape.dimension).squareRoot()))
      return .learned(range, maximumLength: shape.maximumLength, dimension: shape.dimension)
    }
    func finalNorm(_ side: String) -> LayerNorm? {
      shape.norm == .pre
        ? LayerNorm("\(side)/final_norm", dimension: shape.dimension, in: &layout) : nil
    }

    // One section a block. Without encoder layers, what the encoder has besides them is the first
    // decoder block's.
    layout.beginSection(blockName(shape, 0))
    let encoderPositions = positions("encoder")
    encoder = (0..<shape.encoderLayers).map { layer in
      if layer > 0 { layout.beginSection(blockName(shape, layer)) }
      return EncoderBlock(blockName(shape, layer), shape, site: 16 + 4 * layer, in: &layout)
    }
    let encoderNorm = finalNorm("encoder")
    if shape.encoderLayers > 0 { layout.beginSection(blockName(shape, shape.encoderLayers)) }
    let decoderPositions = positions("decoder")
    decoder = (0..<shape.decoderLayers).map { layer in
      let name = blockName(shape, shape.encoderLayers + layer)
      if layer > 0 { layout.beginSection(name) }
      return DecoderBlock(name, shape, site: 4096 + 4 * layer, in: &layout)
    }
    let decoderNorm = finalNorm("decoder")
    if let encoderNorm, let decoderNorm {
      finalNorms = (encoderNorm, decoderNorm)
    } else {
      finalNorms = nil
    }
    layout.beginSection("embedding")
    embedding = TokenEmbedding(
      vocabularySize: shape.vocabularySize, dimension: shape.dimension, in: &layout)
    sourceEmbedding = InputEmbedding(embedding: embedding, positions: encoderPositions, site: 0)
    targetEmbedding = InputEmbedding(embedding: embedding, positions: decoderPositions, site: 1)
    self.shape = shape
    self.layout = layout
  }

  /// The loss of a micro-batch alone; without dropout if `pass` has none.
  package func evaluate(_ batch: MicroBatch, smoothing: Float, _ pass: Pass) -> LossSum {
    pass.arena.reset()
    let saved = whole.forward(batch, input: [], pass)
    return whole.loss(batch, saved, smoothing: smoothing, pass)
  }
}

/// The name of a block's section and the beginning of its tensors' names.
private func blockName(_ shape: TransformerShape, _ block: Int) -> String {
  let isEncoder = block < shape.encoderLayers
  let layer = isEncoder ? block : block - shape.encoderLayers
  return "\(isEncoder ? "encoder" : "decoder")/layer_\(twoDigits(layer))"
}

private func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
