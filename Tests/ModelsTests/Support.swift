import Core
import Layers
import Models
import Tensors

extension ModelChunk {
  /// Arenas of exactly the planned size for one micro-batch.
  func arenas(for batch: MicroBatch) -> (saved: Arena, scratch: Arena) {
    let capacity = arenaCapacity(BatchBounds(batch))
    return (Arena(capacity: capacity.saved), Arena(capacity: capacity.scratch))
  }
}

extension Transformer {
  /// Which section of the layout is the shared embedding: the last, behind those of the blocks.
  var embeddingSection: Int { blockCount }

  /// Runs a lane, one or more micro-batches, forward and backward through the whole model.
  ///
  /// Writes: every parameter's gradient, overwritten by the first micro-batch or accumulated as
  /// `gradients` says. Order: micro-batch after micro-batch; the embedding takes the loss gradients
  /// of all of them first, then their token gradients.
  /// - Parameters:
  ///   - tokenGradients: with copies for all micro-batches but the last.
  ///   - pass: the pass of a micro-batch of the lane; all may share their arenas.
  func trainLane(
    _ batches: [MicroBatch], _ objective: ModelChunk.Objective, _ gradients: GradientTarget,
    _ tokenGradients: TokenGradientStore, pass: (_ microBatch: Int) -> Pass
  ) -> LossSum {
    let model = whole
    var loss = LossSum()
    for (index, batch) in batches.enumerated() {
      let pass = pass(index)
      let target = index == 0 ? gradients : gradients.accumulating
      pass.arena.reset()
      let saved = model.forward(batch, input: [], pass)
      let result = model.backward(
        batch, saved, outputGradient: [], pass, target, embeddingGradient: target,
        objective: objective)
      loss += result.loss
      for (side, rows) in result.tokenGradients {
        if index == batches.count - 1 {
          tokenGradients.lend(microBatch: index, side, rows: rows)
        } else {
          tokenGradients.room(microBatch: index, side, rows: rows.rows).vector
            .copy(from: rows.vector)
        }
      }
    }
    tokenGradients.add(batches, into: gradients)
    return loss
  }

  /// Runs a lane of one micro-batch, see `trainLane`.
  func train(
    _ batch: MicroBatch, _ objective: ModelChunk.Objective, _ pass: Pass,
    _ gradients: GradientTarget
  ) -> LossSum {
    let none = TokenGradientStore(self, copies: 0, bounds: BatchBounds())
    return trainLane([batch], objective, gradients, none) { _ in pass }
  }

  /// A pass of the whole model without dropout.
  func evaluatingPass(_ weights: Vector, for batch: MicroBatch) -> Pass {
    let arenas = whole.arenas(for: batch)
    return Pass(evaluating: weights, arena: arenas.saved, scratch: arenas.scratch)
  }
}
