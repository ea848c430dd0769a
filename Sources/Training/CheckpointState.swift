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
  /// Updates skipped since the last one, because the gradient was not finite or too large.
  package var skippedInARow = 0
}

/// What rank 0 needs to publish checkpoints: where, and what makes them this run's.
struct Publisher {
  let store: CheckpointStore
  let retention: RetentionPolicy
  let runIdentifier: String
  let incarnation: Int
  let configuration: RunConfiguration
  let tokenizerModel: [UInt8]
  let datasetDigest: String
  let contentDigest: String?
  let provenance: [String: String]

  func header(_ progress: Progress, validationLoss: Double?) -> CheckpointHeader {
    var header = CheckpointHeader(
      step: progress.step, position: progress.position, tokensSeen: progress.tokensSeen,
      seed: configuration.seed, lanes: configuration.batch.lanes, incarnation: incarnation,
      runIdentifier: runIdentifier, validationLoss: validationLoss,
      configurationYAML: configuration.resolvedYAML, tokenizerModel: tokenizerModel,
      datasetDigest: datasetDigest, contentDigest: contentDigest,
      provenance: provenance.merging(["created": Timestamp.now]) { $1 })
    header.skippedInARow = progress.skippedInARow
    return header
  }
}

extension StepEngine {
  /// What this rank alone is responsible for.
  var ownedPieces: [OwnedPiece] {
    optimizer.ownedSpans.flatMap { span in
      [
        OwnedPiece(.parameters, span, weights[span]),
        OwnedPiece(.firstMoment, span, optimizer.moment(.first, span)),
        OwnedPiece(.secondMoment, span, optimizer.moment(.second, span)),
      ]
    }
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
