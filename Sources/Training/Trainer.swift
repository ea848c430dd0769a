import Core
import Datasets
import Foundation
import Logging
import Messaging
import Optimizers

/// Trains one run on this rank, from where it stands to where it ends.
package final class Trainer {
  let configuration: RunConfiguration
  let communicator: any Communicator
  let observer: any TrainingObserver
  let inputs: RunInputs
  let engine: StepEngine
  let logger: Logger
  /// On rank 0 only: it alone writes and tells.
  let directory: RunDirectory?
  private let coordinator: Coordinator
  private let schedule: LearningRateSchedule
  private let validation: Validation
  private var progress: Progress
  private let saving: Saving
  /// Seconds before each further try of a last save that failed.
  private static let waitsBeforeSavingAgain = [0.5, 2.0]
  /// What all ranks agreed on after the last step: requests, and how far the save is.
  private var united: UInt64 = 0
  /// Of the present step, if it has been measured.
  private var validationLoss: Double?

  /// Why the last save failed, if it did.
  package var saveProblem: Failure? { saving.problem }

  init(
    _ configuration: RunConfiguration, communicator: any Communicator,
    observer: any TrainingObserver, inputs: RunInputs, engine: StepEngine, logger: Logger,
    directory: RunDirectory?, publisher: Publisher?, progress: Progress
  ) throws(Failure) {
    self.configuration = configuration
    self.communicator = communicator
    self.observer = observer
    self.inputs = inputs
    self.engine = engine
    self.logger = logger
    self.directory = directory
    saving = try Saving(
      configuration, engine: engine, communicator: communicator, publisher: publisher)
    self.progress = progress
    schedule = configuration.learningRateSchedule
    validation = Validation(inputs.validation)
    coordinator = Coordinator(configuration, canEvaluate: !validation.isEmpty)
  }

  /// Trains until the configured number of steps is done, somebody asks to stop, or the run
  /// diverges.
  ///
  /// Collective. Throws: `Failure` of this rank alone (a broken shard, a lost peer), after which
  /// the job can only be aborted.
  package func run() throws(Failure) -> Coordinator.End {
    guard progress.step < configuration.train.steps else { return nothingLeft() }
    // What came while data was opened is answered before a step, which may take minutes.
    let asked = Requests(rawValue: try communicator.agree(StopSignals.take().rawValue))
    if asked.contains(.stop) { return try finish(.stopped) }
    let prefetcher = try Prefetcher(
      inputs.loader, position: progress.position, indices: engine.ownMicroBatches)
    defer { prefetcher.stop() }
    var pace = Pace(step: progress.step)
    while true {
      let batch = try prefetcher.next()
      let step = progress.step + 1
      FaultPoint.load.reached(step: step)
      let rate = schedule.rate(step: step)
      let outcome = try recordingDifference { () throws(Failure) in
        try engine.step(
          step, microBatches: batch.microBatches, targetTokens: batch.plan.targetTokens,
          learningRate: rate)
      }
      advance(past: batch.plan, outcome)
      pace.count(batch.plan.targetTokens)
      let decision = try decide()
      if decision.records { try record(outcome, batch.plan, learningRate: rate, &pace) }
      if decision.evaluates, FaultPoint.evaluate.reached(step: step) != .skip {
        try validate(&pace)
      }
      if decision.saves { saving.request() }
      // Asked for in an earlier step, it would be of this one.
      if decision.end == .diverged { saving.withdraw() }
      let watch = Stopwatch()
      let saved = try recordingDifference { () throws(Failure) in
        try saving.advance(
          united, progress, validationLoss: validationLoss, isPromised: decision.keeps)
      }
      pace.exclude(watch.seconds)
      saved.forEach(tell)
      if let end = decision.end { return try finish(end) }
    }
  }

  private func advance(past plan: StepPlan, _ outcome: StepEngine.Outcome) {
    progress.step += 1
    StepBeacon.mark(step: progress.step)
    validationLoss = nil
    progress.position = plan.nextPosition
    progress.tokensSeen += plan.targetTokens
    progress.skippedInARow = outcome.isUpdated ? 0 : progress.skippedInARow + 1
  }

  /// Weights that differ are recorded before the job ends of it.
  private func recordingDifference<Value>(
    _ body: () throws(Failure) -> Value
  ) throws(Failure) -> Value {
    do throws(Failure) {
      return try body()
    } catch {
      if error.exitCode == .outOfLockstep {
        directory?.events.append(
          .fault,
          [.init("step", .integer(progress.step)), .init("fault", .string(error.message))])
        logger.error("\(error.message)", metadata: stepMetadata)
      }
      throw error
    }
  }

  /// Agrees with all ranks on what was asked for, then on what follows.
  private func decide() throws(Failure) -> Coordinator.Decision {
    united = try communicator.agree(
      StopSignals.take().rawValue | saving.flags(step: progress.step))
    return coordinator.decide(
      step: progress.step, requests: Requests(rawValue: united),
      nonFiniteInARow: progress.skippedInARow)
  }

  private func record(
    _ outcome: StepEngine.Outcome, _ plan: StepPlan, learningRate: Double, _ pace: inout Pace
  ) throws(Failure) {
    let digest = try engine.weightsDigest()
    guard let directory else { return }
    let speed = pace.lap(step: progress.step, of: configuration.train.steps)
    var record = StepRecord(
      step: progress.step, totalSteps: configuration.train.steps,
      epoch: Double(progress.position) / Double(inputs.loader.pairCount), loss: outcome.loss,
      crossEntropy: outcome.crossEntropy, learningRate: learningRate,
      gradientNorm: outcome.gradientNorm, tokens: plan.targetTokens,
      tokensPerSecond: speed.tokensPerSecond,
      weightsDigest: digest.description, secondsLeft: speed.secondsLeft)
    record.exposedExchangeSeconds = engine.phases.exchange
    directory.events.append(record)
    observer.stepped(record)
    if !outcome.isUpdated {
      notice(
        "step \(progress.step): the gradient is not finite or too large; the update was"
          + " skipped on all ranks",
        fault: "non-finite")
    }
    if let problem = directory.events.takeProblem() { observer.noticed(problem) }
  }

  private func validate(_ pace: inout Pace) throws(Failure) {
    let watch = Stopwatch()
    let result = try validation.run(engine, over: communicator)
    pace.exclude(watch.seconds)
    validationLoss = result.crossEntropy
    guard let directory else { return }
    let record = ValidationRecord(
      step: progress.step, loss: result.crossEntropy, tokens: result.tokens,
      seconds: watch.seconds)
    directory.events.append(record)
    observer.validated(record)
  }

  /// Tells how a save ended; after one that failed training goes on.
  private func tell(_ saved: SaveRecord) {
    guard let directory else { return }
    directory.events.append(saved)
    observer.saved(saved)
    logger.info(
      "\(saved.problem ?? "saved \(saved.path)")", metadata: ["step": "\(saved.step)"])
    if let aside = saved.movedAside {
      observer.noticed(
        "step \(saved.step): what had the name of its checkpoint did not verify, and is now"
          + " \(aside); remove it if nobody needs it")
    }
    if let problem = saved.retentionProblem { observer.noticed(problem) }
  }

  /// The end, if what it promises is true: a run that says it can be resumed has been saved.
  private func finish(_ end: Coordinator.End) throws(Failure) -> Coordinator.End {
    let records = try recordingDifference { () throws(Failure) in
      try saving.finish(progress, validationLoss: validationLoss)
    }
    records.forEach(tell)
    if end != .diverged { try saveAgain() }
    let isUnsaved = end != .diverged && saving.problem != nil
    if let kind = Self.lastEvent(end, isUnsaved: isUnsaved) {
      directory?.events.append(kind, [.init("step", .integer(progress.step))])
    }
    logger.info("ended: \(isUnsaved ? .unsaved : end)", metadata: stepMetadata)
    return isUnsaved ? .unsaved : end
  }

  /// The last state of a run that nobody asked to stop may be saved by another launch: no end.
  private static func lastEvent(_ end: Coordinator.End, isUnsaved: Bool) -> EventKind? {
    switch end {
    case .finished: isUnsaved ? nil : .end
    case .stopped: isUnsaved ? .unsaved : .stop
    case .diverged: .diverged
    case .unsaved: nil
    }
  }

  /// Tries a last save that failed again: what fails it may pass, and no later save makes up for
  /// it.
  private func saveAgain() throws(Failure) {
    for wait in Self.waitsBeforeSavingAgain where saving.problem != nil {
      usleep(UInt32(wait * 1e6))
      saving.request()
      let records = try recordingDifference { () throws(Failure) in
        try saving.finish(progress, validationLoss: validationLoss)
      }
      records.forEach(tell)
    }
  }

  /// The run stands at its end already, or past the one that is asked for now.
  private func nothingLeft() -> Coordinator.End {
    directory?.events.append(.end, [.init("step", .integer(progress.step))])
    observer.noticed(
      "nothing is left to do: step \(progress.step) is saved, train.steps is"
        + " \(configuration.train.steps)")
    logger.info("ended: nothing is left to do", metadata: stepMetadata)
    return .finished
  }

  private func notice(_ line: String, fault: String) {
    directory?.events.append(
      .fault, [.init("step", .integer(progress.step)), .init("fault", .string(fault))])
    observer.noticed(line)
    logger.warning("\(line)", metadata: stepMetadata)
  }

  private var stepMetadata: Logger.Metadata { ["step": "\(progress.step)"] }
}

/// How fast the run is: time of validation and saving does not count.
struct Pace {
  private var watch = Stopwatch()
  private var excluded = 0.0
  private var tokens = 0
  private var lastStep: Int

  init(step: Int) { lastStep = step }

  mutating func count(_ tokens: Int) { self.tokens += tokens }
  mutating func exclude(_ seconds: Double) { excluded += seconds }

  /// Since the last lap.
  mutating func lap(step: Int, of total: Int) -> (tokensPerSecond: Double, secondsLeft: Double) {
    let seconds = max(1e-9, watch.seconds - excluded)
    let perStep = seconds / Double(max(1, step - lastStep))
    let result = (Double(tokens) / seconds, perStep * Double(total - step))
    self = Pace(step: step)
    return result
  }
}
