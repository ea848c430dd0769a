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
  /// A pass of the whole model without dropout.
  func evaluatingPass(_ weights: Vector, for batch: MicroBatch) -> Pass {
    let arenas = whole.arenas(for: batch)
    return Pass(evaluating: weights, arena: arenas.saved, scratch: arenas.scratch)
  }
}
