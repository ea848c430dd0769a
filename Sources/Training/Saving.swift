import Checkpoints
import Core
import Messaging

/// Keeps a run's checkpoints: when one is due, from which state it is taken, how it ended.
///
/// Writing happens beside the following steps; a save that is due while one is under way waits for
/// it. Every rank has one, and all of them do the same in the same step.
final class Saving {
  private let engine: StepEngine
  private let communicator: any Communicator
  private let writer: CheckpointWriter
  private let publisher: Publisher?
  private var cadence: SaveCadence
  private let clock = Stopwatch()
  /// What the snapshot of the save under way took from training.
  private var blockedSeconds = 0.0
  /// Why the last save failed, on every rank; nil after one that succeeded.
  private(set) var problem: Failure?

  /// - Parameter publisher: on rank 0 and only there.
  /// Throws: `Failure(.internal)` of this rank alone when no thread can be started.
  init(
    _ configuration: RunConfiguration, engine: StepEngine, communicator: any Communicator,
    publisher: Publisher?
  ) throws(Failure) {
    self.engine = engine
    self.communicator = communicator
    self.publisher = publisher
    cadence = SaveCadence(configuration.checkpoint.every)
    writer = try CheckpointWriter(
      communicator: communicator, layout: engine.model.layout,
      publication: publisher.map { .init(store: $0.store, retention: $0.retention) })
  }

  /// To be united over all ranks once a step; rank 0's clock speaks for all.
  func flags(step: Int) -> UInt64 {
    let isDue = publisher != nil && cadence.isDue(step: step, now: clock.seconds)
    return writer.flags | (isDue ? Requests.save.rawValue : 0)
  }

  /// Asks for a save of this step's state, or of the first after the save that is under way.
  func request() { writer.request() }

  /// Drops a request that waits for the save under way.
  func withdraw() { writer.withdraw() }

  /// Carries a save on, and begins the one that is asked for as soon as it can.
  ///
  /// Collective: every rank with the same arguments. Returns: what there is to tell, in order.
  /// - Parameter isPromised: the configuration keeps the checkpoint of this very step, so training
  ///   waits for the save under way.
  func advance(
    _ united: UInt64, _ progress: Progress, validationLoss: Double?, isPromised: Bool
  ) throws(Failure) -> [SaveRecord] {
    var records: [SaveRecord] = []
    if let event = try writer.poll(united) { records.append(told(event)) }
    if isPromised, writer.isRequested, let event = try writer.finish() {
      records.append(told(event))
    }
    if writer.takesSnapshot { try begin(progress, validationLoss) }
    return records
  }

  /// Waits until everything that was asked for is on disk.
  ///
  /// Collective. Returns: what there is to tell, in order.
  func finish(_ progress: Progress, validationLoss: Double?) throws(Failure) -> [SaveRecord] {
    StepBeacon.set(.saving)
    defer { StepBeacon.set(.training) }
    var records: [SaveRecord] = []
    while true {
      if let event = try writer.finish() { records.append(told(event)) }
      guard writer.isRequested else { return records }
      try begin(progress, validationLoss)
    }
  }

  /// Takes the snapshot of a state that is the same everywhere.
  private func begin(_ progress: Progress, _ validationLoss: Double?) throws(Failure) {
    let watch = Stopwatch()
    FaultPoint.save.reached(step: progress.step)
    try engine.compareCopies(step: progress.step)
    writer.begin(
      step: progress.step, publisher?.header(progress, validationLoss: validationLoss),
      pieces: engine.ownedPieces)
    blockedSeconds = watch.seconds
    cadence.began(now: clock.seconds)
  }

  private func told(_ event: SaveEvent) -> SaveRecord {
    switch event {
    case .published(let step, let saved):
      problem = nil
      cadence.measured(costSeconds: blockedSeconds, durationSeconds: saved?.seconds ?? 0)
      return SaveRecord(
        step: step, path: saved?.path ?? "", byteCount: saved?.byteCount ?? 0,
        seconds: saved?.seconds ?? 0, blockedSeconds: blockedSeconds,
        movedAside: saved?.movedAside, retentionProblem: saved?.retentionProblem?.message)
    case .failed(let step, let failure):
      problem = failure
      return SaveRecord(
        step: step, path: "", byteCount: 0, seconds: 0, blockedSeconds: blockedSeconds,
        problem: failure.message)
    }
  }
}
