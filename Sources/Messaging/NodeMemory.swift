import Tensors

/// Floats that the ranks of a node read and write together; each rank owns a part.
///
/// The communicator that made it frees it in `finish`: no vector may be used afterwards.
package final class NodeMemory: Sendable {
  private let vectors: [Int: Vector]
  /// What the vectors lie in, where it is not MPI's.
  private let buffers: [NodeBuffer]

  init(vectors: [Int: Vector]) {
    self.vectors = vectors
    buffers = []
  }

  init(buffers: [Int: NodeBuffer]) {
    vectors = buffers.mapValues { $0.floats.view }
    self.buffers = Array(buffers.values)
  }

  /// The part of a rank of this node, by its number in the job; all zero at first.
  package func vector(of rank: Int) -> Vector {
    guard let vector = vectors[rank] else {
      preconditionFailure("rank \(rank) does not share this node's memory")
    }
    return vector
  }
}

/// A rank's part of node memory in a process of its own or shared between threads.
final class NodeBuffer: Sendable {
  let floats: FloatBuffer

  init(count: Int) { floats = FloatBuffer(count: count) }
}
