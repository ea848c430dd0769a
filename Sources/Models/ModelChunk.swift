import Core
import Layers
import Tensors

/// A contiguous range of a Transformer's blocks, with what is attached to them: the unit a pipeline
/// stage runs. The chunk of all blocks is the whole model.
///
/// A *block* is an encoder or decoder layer, numbered from the first encoder layer to the last
/// decoder layer. Attached are: to the first block the source embedding and its positions, to the
/// last encoder block the encoder's final norm, to the first decoder block the target embedding and
/// its positions, to the last block the decoder's final norm and the vocabulary loss.
package struct ModelChunk: Sendable {
  package let model: Transformer
  package let blocks: Range<Int>

  fileprivate init(_ model: Transformer, _ blocks: Range<Int>) {
    precondition(
      !blocks.isEmpty && blocks.lowerBound >= 0 && blocks.upperBound <= model.blockCount,
      "blocks \(blocks) of \(model.blockCount)")
    self.model = model
    self.blocks = blocks
  }

  /// Its part of the layout, contiguous; the embedding is not in it.
  package var parameters: Range<Int> {
    let sections = model.layout.sections
    return sections[blocks.lowerBound].range
      .lowerBound..<sections[blocks.upperBound - 1].range.upperBound
  }

  package var isFirst: Bool { blocks.lowerBound == 0 }
  package var isLast: Bool { blocks.upperBound == model.blockCount }
  package var holdsSourceEmbedding: Bool { isFirst }
  package var holdsTargetEmbedding: Bool { blocks.contains(model.encoder.count) }

  /// Whether the encoder's output is made here.
  var holdsEncoderEnd: Bool {
    model.encoder.isEmpty ? isFirst : blocks.contains(model.encoder.count - 1)
  }

  /// Its encoder layers, by layer number.
  var encoderLayers: Range<Int> { blocks.clamped(to: 0..<model.encoder.count) }

  /// Its decoder layers, by layer number.
  var decoderLayers: Range<Int> {
    let first = model.encoder.count
    let own = blocks.clamped(to: first..<model.blockCount)
    return own.lowerBound - first..<own.upperBound - first
  }
}

/// Which look-up in the shared embedding.
package enum TokenSide: Int, CaseIterable, Sendable { case source, target }

extension Transformer {
  /// Encoder and decoder layers.
  package var blockCount: Int { encoder.count + decoder.count }

  package func chunk(_ blocks: Range<Int>) -> ModelChunk { ModelChunk(self, blocks) }

  /// The chunk of all blocks.
  package var whole: ModelChunk { chunk(0..<blockCount) }

  /// The row counts of the matrices that travel forward to `block`, and their gradients back; each
  /// row is `shape.dimension` floats.
  ///
  /// Nothing before block 0; the source activations up to the first decoder block, which receives
  /// the encoder's output; then the target activations and the encoder's output, in this order.
  package func boundary(before block: Int, sourceTokens: Int, targetTokens: Int) -> [Int] {
    precondition(block >= 0 && block <= blockCount, "no block \(block)")
    if block == 0 || block == blockCount { return [] }
    return block <= encoder.count ? [sourceTokens] : [targetTokens, sourceTokens]
  }

  package func boundary(before block: Int, _ batch: MicroBatch) -> [Int] {
    boundary(
      before: block, sourceTokens: batch.source.tokens.count,
      targetTokens: batch.targetInput.tokens.count)
  }

  /// Room for what travels to `block`, contents undefined: to receive activations into before
  /// `forward`, or their gradients before `backward`. The plan of `ModelChunk.arenaCapacity` has
  /// room for both in the arena of the micro-batch.
  package func boundaryMatrices(
    before block: Int, _ batch: MicroBatch, in arena: Arena
  ) -> [Matrix] {
    boundary(before: block, batch).map { arena.matrix($0, shape.dimension) }
  }
}
