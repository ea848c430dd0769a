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
    CheckpointHeader(
      step: progress.step, position: progress.position, tokensSeen: progress.tokensSeen,
      seed: configuration.seed, lanes: configuration.batch.lanes, incarnation: incarnation,
      runIdentifier: runIdentifier, configurationYAML: configuration.resolvedYAML,
      tokenizerModel: tokenizerModel, datasetDigest: datasetDigest,
      provenance: provenance.merging(["created": Timestamp.now]) { $1 })
  }
}

extension StepEngine {
  /// What this rank alone is responsible for.
  var ownedPieces: [OwnedPiece] {
    let span = optimizer.ownedSpan
    return [
      OwnedPiece(.parameters, span, weights[span]),
      OwnedPiece(.firstMoment, span, optimizer.owned(.first)),
      OwnedPiece(.secondMoment, span, optimizer.owned(.second)),
    ]
  }

  /// Saves a checkpoint, each rank its own part, and removes old ones.
  ///
  /// Collective. Throws: on the rank with a publisher what went wrong on any; the others are
  /// through then.
  func save(
    _ progress: Progress, _ publisher: Publisher?, with writer: CheckpointWriter
  ) throws(Failure) -> SavedCheckpoint? {
    writer.begin(step: progress.step, publisher?.header(progress), pieces: ownedPieces)
    switch try writer.finish() {
    case .published(_, let saved)?:
      if let problem = saved?.retentionProblem { throw problem }
      return saved
    case .failed(_, let failure)?:
      if publisher != nil { throw failure }
      return nil
    case nil: return nil
    }
  }

  /// Takes weights and the own moments from a checkpoint of this model.
  ///
  /// Throws: `Failure` (.badData) when the checkpoint is of another model or has no moments.
  func restore(_ checkpoint: Checkpoint) throws(Failure) -> Progress {
    try checkpoint.requireLayout(model.layout)
    try checkpoint.read(0..<model.layout.count, of: .parameters, into: weights)
    try optimizer.setMoment(.first) { (range, target) throws(Failure) in
      try checkpoint.read(range, of: .firstMoment, into: target)
    }
    try optimizer.setMoment(.second) { (range, target) throws(Failure) in
      try checkpoint.read(range, of: .secondMoment, into: target)
    }
    let header = checkpoint.header
    return Progress(
      step: header.step, position: header.position, tokensSeen: header.tokensSeen)
  }
}
