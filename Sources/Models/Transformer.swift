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
  ///   positions cover
  ///   `shape.maximumLength`, always.
  package init(_ shape: TransformerShape, longestSequence: Int = 0) {
    var layout = ParameterLayout()
    embedding = TokenEmbedding(
      vocabularySize: shape.vocabularySize, dimension: shape.dimension, in: &layout)
    let positions = Self.positions(shape, longestSequence, in: &layout)
    sourceEmbedding = InputEmbedding(embedding: embedding, positions: positions.encoder, site: 0)
    targetEmbedding = InputEmbedding(embedding: embedding, positions: positions.decoder, site: 1)
    encoder = (0..<shape.encoderLayers).map {
      EncoderBlock("encoder/layer_\(twoDigits($0))", shape, site: 16 + 4 * $0, in: &layout)
    }
    let encoderNorm =
      shape.norm == .pre
      ? LayerNorm("encoder/final_norm", dimension: shape.dimension, in: &layout) : nil
    decoder = (0..<shape.decoderLayers).map {
      DecoderBlock("decoder/layer_\(twoDigits($0))", shape, site: 4096 + 4 * $0, in: &layout)
    }
    finalNorms = encoderNorm.map {
      ($0, LayerNorm("decoder/final_norm", dimension: shape.dimension, in: &layout))
    }
    self.shape = shape
    self.layout = layout
  }

  private static func positions(
    _ shape: TransformerShape, _ longestSequence: Int, in layout: inout ParameterLayout
  ) -> (encoder: PositionEncoding, decoder: PositionEncoding) {
    switch shape.positions {
    case .sinusoidal:
      let table = SinusoidTable(rows: max(1, longestSequence), dimension: shape.dimension)
      return (.sinusoidal(table), .sinusoidal(table))
    case .learned:
      func learned(_ name: String) -> PositionEncoding {
        let range = layout.append(
          name, [shape.maximumLength, shape.dimension],
          .normal(deviation: 1 / Float(shape.dimension).squareRoot()))
        return .learned(range, maximumLength: shape.maximumLength, dimension: shape.dimension)
      }
      let encoder = learned("encoder/positions/weight")
      return (encoder, learned("decoder/positions/weight"))
    }
  }

  /// Runs a micro-batch forward and backward.
  ///
  /// The loss gradient is multiplied by `gradientScale`: one over the step's global count of target
  /// tokens.
  /// Writes: every parameter's gradient, overwritten or accumulated as `gradients` says.
  package func train(
    _ batch: MicroBatch, smoothing: Float, gradientScale: Float, _ pass: Pass,
    _ gradients: GradientTarget
  ) -> LossSum {
    let arena = pass.arena
    arena.reset()
    let extents = BatchExtents(batch)
    let encoded = encode(batch.source, extents.encoder, pass)
    let decoded = decode(batch.targetInput, memory: encoded.output, extents.decoder, pass)

    let gradient = arena.matrix(decoded.output.rows, shape.dimension)
    let memoryGradient = arena.matrix(encoded.output.rows, shape.dimension)
    let loss = VocabularyLoss(embedding: embedding, smoothing: smoothing).train(
      decoded.output, targets: batch.targetOutput, gradientScale: gradientScale, pass, gradients,
      hiddenGradient: gradient)

    memoryGradient.vector.fill(0)
    if let norms = finalNorms, let saved = decoded.finalNorm {
      norms.decoder.backward(
        saved, outputGradient: gradient, pass, gradients, inputGradient: gradient,
        accumulateInput: false)
    }
    for (block, saved) in zip(decoder, decoded.blocks).reversed() {
      block.backward(
        saved, extents.decoder, gradient: gradient, memoryGradient: memoryGradient, pass,
        gradients)
    }
    targetEmbedding.backward(batch.targetInput, gradient: gradient, pass, gradients)

    if let norms = finalNorms, let saved = encoded.finalNorm {
      norms.encoder.backward(
        saved, outputGradient: memoryGradient, pass, gradients, inputGradient: memoryGradient,
        accumulateInput: false)
    }
    for (block, saved) in zip(encoder, encoded.blocks).reversed() {
      block.backward(saved, extents.encoder, gradient: memoryGradient, pass, gradients)
    }
    sourceEmbedding.backward(batch.source, gradient: memoryGradient, pass, gradients)
    return loss
  }

  /// The loss of a micro-batch without dropout.
  package func evaluate(_ batch: MicroBatch, smoothing: Float, _ pass: Pass) -> LossSum {
    pass.arena.reset()
    let extents = BatchExtents(batch)
    let encoded = encode(batch.source, extents.encoder, pass)
    let decoded = decode(batch.targetInput, memory: encoded.output, extents.decoder, pass)
    return VocabularyLoss(embedding: embedding, smoothing: smoothing)
      .evaluate(decoded.output, targets: batch.targetOutput, pass)
  }

  struct Encoded {
    let blocks: [EncoderBlock.Saved]
    let finalNorm: LayerNorm.Saved?
    let output: Matrix
  }

  struct Decoded {
    let blocks: [DecoderBlock.Saved]
    let finalNorm: LayerNorm.Saved?
    let output: Matrix
  }

  func encode(
    _ source: PackedSequences, _ extents: MultiHeadAttention.Extents, _ pass: Pass
  ) -> Encoded {
    var x = sourceEmbedding.forward(source, pass)
    var blocks: [EncoderBlock.Saved] = []
    for block in encoder {
      blocks.append(block.forward(x, extents, pass))
      x = blocks[blocks.count - 1].output
    }
    let norm = finalNorms?.encoder.forward(x, inPlace: true, pass)
    return Encoded(blocks: blocks, finalNorm: norm, output: norm?.output ?? x)
  }

  func decode(
    _ target: PackedSequences, memory: Matrix, _ extents: DecoderBlock.Extents, _ pass: Pass
  ) -> Decoded {
    var x = targetEmbedding.forward(target, pass)
    var blocks: [DecoderBlock.Saved] = []
    for block in decoder {
      blocks.append(block.forward(x, memory: memory, extents, pass))
      x = blocks[blocks.count - 1].output
    }
    let norm = finalNorms?.decoder.forward(x, inPlace: true, pass)
    return Decoded(blocks: blocks, finalNorm: norm, output: norm?.output ?? x)
  }
}

/// The attention extents of a micro-batch.
struct BatchExtents {
  let encoder: MultiHeadAttention.Extents
  let decoder: DecoderBlock.Extents

  init(_ batch: MicroBatch) {
    let source = batch.source.offsets
    let target = batch.targetInput.offsets
    encoder = MultiHeadAttention.Extents(queries: source, keys: source, causal: false)
    decoder = DecoderBlock.Extents(
      own: MultiHeadAttention.Extents(queries: target, keys: target, causal: true),
      cross: MultiHeadAttention.Extents(queries: target, keys: source, causal: false))
  }
}

private func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
