import Core
import Layers
import Tensors

extension Transformer {
  /// Adds the token gradients of one look-up, as `ModelChunk.backward` returns them, to the shared
  /// embedding's gradient.
  ///
  /// Order within a lane, which decides bits: the losses of all its micro-batches first, then for
  /// each micro-batch the target rows and the source rows (`TokenGradientStore.add`).
  package func addTokenGradients(
    _ batch: MicroBatch, _ side: TokenSide, rows: Matrix, into gradients: GradientTarget
  ) {
    let tokens = side == .source ? batch.source.tokens : batch.targetInput.tokens
    embedding.addTokenGradients(tokens, rows: rows, into: gradients)
  }
}

/// Keeps the token gradients of a lane's micro-batches until the loss gradients of all of them are
/// in the embedding's gradient.
///
/// One lane: `room` or `lend` for each micro-batch and side, in any order; then `add`.
package final class TokenGradientStore {
  private let model: Transformer
  private let bounds: BatchBounds
  private let storage: FloatBuffer
  private let copies: Int
  private var rows: [Place: Matrix] = [:]

  private struct Place: Hashable {
    let microBatch: Int
    let side: TokenSide
  }

  /// - Parameter copies: how many micro-batches of a lane, from the first, have room of their own
  ///   here. All of them when rows come from other ranks; all but the last when they are made in
  ///   an arena that the next micro-batch reuses.
  package init(_ model: Transformer, copies: Int, bounds: BatchBounds) {
    self.model = model
    self.bounds = bounds
    self.copies = copies
    storage = FloatBuffer(count: copies * Self.count(model, bounds))
  }

  package var byteCount: Int { storage.count * MemoryLayout<Float>.stride }

  /// Room for the rows of one look-up, contents undefined, to copy or receive them into.
  package func room(microBatch: Int, _ side: TokenSide, rows count: Int) -> Matrix {
    precondition(microBatch >= 0 && microBatch < copies, "no room for micro-batch \(microBatch)")
    precondition(count <= (side == .source ? bounds.sourceTokens : bounds.targetTokens))
    let width = model.shape.dimension
    let start =
      microBatch * Self.count(model, bounds)
      + (side == .source ? Arena.room(bounds.targetTokens * width) : 0)
    let matrix = storage.view[start..<start + count * width].matrix(rows: count, columns: width)
    lend(microBatch: microBatch, side, rows: matrix)
    return matrix
  }

  /// Rows that stay where they are until `add`.
  package func lend(microBatch: Int, _ side: TokenSide, rows matrix: Matrix) {
    rows[Place(microBatch: microBatch, side: side)] = matrix
  }

  /// Adds all rows of a lane to the embedding's gradient, in the order that decides bits, and
  /// forgets them.
  ///
  /// - Precondition: every micro-batch has its rows of both sides, and its loss gradient is in.
  package func add(_ batches: [MicroBatch], into gradients: GradientTarget) {
    for (index, batch) in batches.enumerated() {
      for side in [TokenSide.target, .source] {
        guard let rows = rows.removeValue(forKey: Place(microBatch: index, side: side)) else {
          preconditionFailure("micro-batch \(index) has no token gradients of its \(side)")
        }
        model.addTokenGradients(batch, side, rows: rows, into: gradients)
      }
    }
    precondition(rows.isEmpty, "token gradients of micro-batches the lane does not have")
  }

  private static func count(_ model: Transformer, _ bounds: BatchBounds) -> Int {
    Arena.room(bounds.sourceTokens * model.shape.dimension)
      + Arena.room(bounds.targetTokens * model.shape.dimension)
  }
}
