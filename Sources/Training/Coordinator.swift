import Core

/// Turns configuration and what the ranks agreed on into what happens after a step: a pure
/// function, the same on every rank.
package struct Coordinator: Sendable {
  private let configuration: RunConfiguration
  private let canEvaluate: Bool

  /// - Parameter canEvaluate: whether there are held-out pairs.
  package init(_ configuration: RunConfiguration, canEvaluate: Bool) {
    self.configuration = configuration
    self.canEvaluate = canEvaluate
  }

  /// What follows a finished step, in this order.
  package struct Decision: Equatable, Sendable {
    package var records: Bool
    package var evaluates: Bool
    package var saves: Bool
    /// The configuration keeps this step's checkpoint, whatever `checkpoint.every` says.
    package var keeps: Bool
    package var end: End?
  }

  package enum End: Equatable, Sendable {
    /// The configured number of steps is done.
    case finished
    /// Somebody asked; the saved state continues the run.
    case stopped
    /// The gradient was not finite or too large `Coordinator.nonFiniteLimit` times in a row.
    case diverged
    /// The last state could not be saved.
    case unsaved

    /// What the ranks leave with.
    package var exitCode: ExitCode {
      switch self {
      case .finished: .success
      case .stopped: .stoppedResumable
      case .diverged: .diverged
      case .unsaved: .inputOutput
      }
    }
  }

  /// So many updates in a row may be skipped before the run is given up.
  package static let nonFiniteLimit = 3

  /// - Parameters:
  ///   - step: the step just done, from 1.
  ///   - requests: what any rank was asked for since the last step, or its clock asks for.
  ///   - nonFiniteInARow: how many updates, this one included, were skipped.
  package func decide(step: Int, requests: Requests, nonFiniteInARow: Int) -> Decision {
    let isLast = step >= configuration.train.steps
    let end: End? =
      nonFiniteInARow >= Self.nonFiniteLimit
      ? .diverged : isLast ? .finished : requests.contains(.stop) ? .stopped : nil
    let evaluates = canEvaluate && (isLast || step % configuration.evaluation.every == 0)
    // A diverged state is not worth a checkpoint: it would push a good one out.
    let keeps =
      end != .diverged
      && configuration.checkpoint.retention.keeps(step: step, isMeasured: evaluates)
    return Decision(
      records: step == 1 || step % configuration.train.logEvery == 0 || end != nil
        || nonFiniteInARow > 0,
      evaluates: evaluates,
      saves: keeps || end != .diverged && (end != nil || requests.contains(.save)),
      keeps: keeps, end: end)
  }
}
