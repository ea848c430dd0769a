import Foundation

/// What is known of one step after it: a line of `events.jsonl` and of the terminal.
package struct StepRecord: Equatable, Sendable {
  package var step: Int
  package var totalSteps: Int
  /// Passes over the training pairs, with a fraction.
  package var epoch: Double
  /// Mean over the step's target tokens of the label-smoothed loss that is minimised, in nats.
  package var loss: Double
  /// Mean over the step's target tokens of -log p(right piece), in nats, where it is known.
  package var crossEntropy: Double?
  package var learningRate: Double
  package var gradientNorm: Double
  /// Target tokens of the step, over all lanes.
  package var tokens: Int
  /// Target tokens a second since the last record, over all ranks.
  package var tokensPerSecond: Double
  /// Of all parameters after the step, where it was computed.
  package var weightsDigest: String?
  package var secondsLeft: Double?
  /// What the exchange of gradients added to the step on rank 0 beyond what hid behind the
  /// backward pass, waiting for slower ranks included.
  package var exposedExchangeSeconds: Double?

  package init(
    step: Int, totalSteps: Int, epoch: Double, loss: Double, crossEntropy: Double? = nil,
    learningRate: Double, gradientNorm: Double, tokens: Int, tokensPerSecond: Double,
    weightsDigest: String? = nil, secondsLeft: Double? = nil
  ) {
    self.step = step
    self.totalSteps = totalSteps
    self.epoch = epoch
    self.loss = loss
    self.crossEntropy = crossEntropy
    self.learningRate = learningRate
    self.gradientNorm = gradientNorm
    self.tokens = tokens
    self.tokensPerSecond = tokensPerSecond
    self.weightsDigest = weightsDigest
    self.secondsLeft = secondsLeft
  }

  /// `exp` of the cross-entropy where it is known, else of the loss.
  package var perplexity: Double { exp(crossEntropy ?? loss) }

  /// The part that is the same, byte for byte, for any rank count and after any restart.
  package var deterministicFields: [JSONValue.Field] {
    [
      .init("step", .integer(step)),
      .init("epoch", .number(epoch)),
      .init("loss", .number(loss)),
      .init("perplexity", .number(perplexity)),
      .init("learning_rate", .number(learningRate)),
      .init("gradient_norm", .number(gradientNorm)),
      .init("tokens", .integer(tokens)),
    ]
  }

  /// The deterministic part, then what depends on the machine and the moment.
  package var fields: [JSONValue.Field] {
    deterministicFields + [
      .init("weights_digest", weightsDigest.map { .string($0) } ?? .null),
      .init("tokens_per_second", .number(tokensPerSecond)),
      .init("exposed_exchange_seconds", exposedExchangeSeconds.map { .number($0) } ?? .null),
      .init("seconds_left", secondsLeft.map { .number($0) } ?? .null),
    ]
  }
}

/// The held-out loss after a step.
package struct ValidationRecord: Equatable, Sendable {
  package var step: Int
  /// Mean over target tokens of -log p(right piece), in nats.
  package var loss: Double
  package var tokens: Int
  package var seconds: Double

  package init(step: Int, loss: Double, tokens: Int, seconds: Double) {
    self.step = step
    self.loss = loss
    self.tokens = tokens
    self.seconds = seconds
  }

  package var perplexity: Double { exp(loss) }

  package var fields: [JSONValue.Field] {
    [
      .init("step", .integer(step)), .init("loss", .number(loss)),
      .init("perplexity", .number(perplexity)), .init("tokens", .integer(tokens)),
      .init("seconds", .number(seconds)),
    ]
  }
}

/// A checkpoint that was published, or could not be.
package struct SaveRecord: Equatable, Sendable {
  package var step: Int
  package var path: String
  package var byteCount: Int
  /// From the snapshot to the publication.
  package var seconds: Double
  /// Of those, what training waited for.
  package var blockedSeconds: Double
  /// Why there is no checkpoint of this step; training goes on.
  package var problem: String?
  /// Where what had this one's name and did not verify was moved.
  package var movedAside: String?
  /// Why an older checkpoint could not be removed; this one is safe.
  package var retentionProblem: String?

  package init(
    step: Int, path: String, byteCount: Int, seconds: Double, blockedSeconds: Double = 0,
    problem: String? = nil, movedAside: String? = nil, retentionProblem: String? = nil
  ) {
    self.blockedSeconds = blockedSeconds
    self.movedAside = movedAside
    self.retentionProblem = retentionProblem
    self.step = step
    self.path = path
    self.byteCount = byteCount
    self.seconds = seconds
    self.problem = problem
  }

  package var fields: [JSONValue.Field] {
    [
      .init("step", .integer(step)), .init("path", .string(path)),
      .init("bytes", .integer(byteCount)), .init("seconds", .number(seconds)),
      .init("blocked_seconds", .number(blockedSeconds)),
      .init("problem", problem.map { .string($0) } ?? .null),
      .init("moved_aside", movedAside.map { .string($0) } ?? .null),
    ]
  }
}
