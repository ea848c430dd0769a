/// Which stage holds which part of the model.
///
/// The model is cut into `chunkCount` chunks of neighbouring blocks; chunk c is on stage
/// c % stages. With one chunk a stage, chunk and stage are the same number; with several
/// (interleaved schedules) a micro-batch goes round the stages several times.
package struct ChunkPlacement: Sendable, Equatable {
  package let stages: Int
  package let chunksPerStage: Int

  package init(stages: Int, chunksPerStage: Int = 1) {
    precondition(stages > 0 && chunksPerStage > 0, "a pipeline has stages, a stage has chunks")
    self.stages = stages
    self.chunksPerStage = chunksPerStage
  }

  package var chunkCount: Int { stages * chunksPerStage }

  package var lastChunk: Int { chunkCount - 1 }

  /// The stage with the last chunk.
  package var lastStage: Int { stages - 1 }

  package func stage(of chunk: Int) -> Int {
    precondition(0..<chunkCount ~= chunk, "chunk \(chunk) does not exist")
    return chunk % stages
  }

  /// The chunks of a stage, first blocks first.
  package func chunks(of stage: Int) -> [Int] {
    precondition(0..<stages ~= stage, "stage \(stage) does not exist")
    return Array(stride(from: stage, to: chunkCount, by: stages))
  }

  /// The other stage that the activations of a chunk come from; nil for the first chunk and where
  /// the chunk before is on the same stage.
  package func previousStage(of chunk: Int) -> Int? {
    chunk == 0 || stages == 1 ? nil : stage(of: chunk - 1)
  }

  /// The other stage that the activations of a chunk go to; nil for the last chunk and where the
  /// chunk after is on the same stage.
  package func nextStage(of chunk: Int) -> Int? {
    chunk == lastChunk || stages == 1 ? nil : stage(of: chunk + 1)
  }
}
