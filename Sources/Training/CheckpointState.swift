import Checkpoints
import Core
import Foundation
import Layers
import Messaging
import Parallelism
import Tensors

/// How far a run is, beside its tensors.
package struct Progress: Equatable, Sendable {
  /// Steps done.
  package var step = 0
  /// The loader's position: sentence pairs consumed.
  package var position = 0
  /// Target tokens trained on.
  package var tokensSeen = 0
  /// Updates skipped since the last one, because loss or gradient was not finite.
  package var skippedInARow = 0
}

/// What rank 0 needs to publish checkpoints: where, and what makes them this run's.
struct Publisher {
  let store: CheckpointStore
  let keep: Int
  let runIdentifier: String
  let incarnation: Int
  let configuration: RunConfiguration
  let tokenizerModel: [UInt8]
  let datasetDigest: String
  let provenance: [String: String]

  fileprivate func header(_ progress: Progress) -> CheckpointHeader {
    var header = CheckpointHeader(
      step: progress.step, position: progress.position, tokensSeen: progress.tokensSeen,
      seed: configuration.seed, lanes: configuration.batch.lanes, incarnation: incarnation,
      runIdentifier: runIdentifier, configurationYAML: configuration.resolvedYAML,
      tokenizerModel: tokenizerModel, datasetDigest: datasetDigest,
      provenance: provenance.merging(["created": Timestamp.now]) { $1 })
    header.skippedInARow = progress.skippedInARow
    return header
  }
}

/// The tensors of a save as rank 0 sees them: every span comes from its owner.
private struct EngineState: StateSource {
  let engine: StepEngine

  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    try engine.gather(vector, range, into: destination)
  }
}

extension StepEngine {
  /// Saves a checkpoint and removes old ones; the rank with a publisher writes, the others serve
  /// their spans.
  ///
  /// Collective. Throws: where it writes, what `CheckpointStore` throws; the other ranks are
  /// through then.
  func save(_ progress: Progress, _ publisher: Publisher?) throws(Failure) -> SavedCheckpoint? {
    guard let publisher else {
      for vector in [StateVector.parameters, .firstMoment, .secondMoment] {
        for piece in StateVector.pieces(of: model.layout.count) {
          try gather(vector, piece, into: nil)
        }
      }
      return nil
    }
    let saved = try publisher.store.save(
      publisher.header(progress), layout: model.layout, from: EngineState(engine: self))
    try publisher.store.retain(newest: publisher.keep)
    return saved
  }

  /// Takes weights and the own moments from a checkpoint of this model.
  ///
  /// Throws: `Failure` (.badData) when the checkpoint is of another model or has no moments.
  func restore(_ checkpoint: Checkpoint) throws(Failure) -> Progress {
    try checkpoint.requireLayout(model.layout)
    for range in weightsToFill {
      try checkpoint.read(range, of: .parameters, into: weights[range])
    }
    for span in optimizer.ownedSpans {
      try checkpoint.read(span, of: .firstMoment, into: optimizer.moment(.first, span))
      try checkpoint.read(span, of: .secondMoment, into: optimizer.moment(.second, span))
    }
    let header = checkpoint.header
    return Progress(
      step: header.step, position: header.position, tokensSeen: header.tokensSeen,
      skippedInARow: header.skippedInARow)
  }
}
