import Checkpoints
import Core
import Messaging
import Tensors

/// Times training steps with and without a save beside them, and what a save and a restart take.
package struct SaveBenchmark {
  /// Medians, on the slowest rank.
  package struct Result: Codable, Equatable, Sendable {
    package var ranks: Int
    package var parameters: Int
    package var checkpointBytes: Int
    /// Without a save.
    package var stepSeconds: Double
    /// Of steps during the whole of which a save was under way; 0 where saves are shorter.
    package var stepSecondsWhileSaving: Double
    package var stepsWhileSaving: Int
    /// How much longer all steps were, from the one before a save to its end, for each save.
    package var delaySeconds: Double
    /// Of that: the copy in memory between two steps.
    package var blockedSeconds: Double
    /// From the copy to the published checkpoint.
    package var saveSeconds: Double
    /// Comparing every digest, as a restart does before it uses a weight.
    package var verifySeconds: Double
    /// Reading weights and moments into place.
    package var restoreSeconds: Double
  }

  private let synthetic: SyntheticSteps
  private let store: CheckpointStore
  private let saving: Saving

  /// - Parameters:
  ///   - length: tokens of each sentence on both sides, end included.
  ///   - folder: where checkpoints are written; a new one on the disk that matters.
  ///
  /// Throws: `Failure` (.configuration) when there are more ranks than lanes.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, length: Int, folder: String,
    communicator: any Communicator
  ) throws(Failure) {
    synthetic = try SyntheticSteps(
      configuration, vocabularySize: vocabularySize, length: length, communicator: communicator)
    store = CheckpointStore(folder: folder)
    let publisher =
      communicator.rank == 0
      ? Publisher(
        store: store, retention: configuration.checkpoint.retention, runIdentifier: "benchmark",
        incarnation: 1, configuration: configuration, tokenizerModel: [], datasetDigest: "",
        provenance: ["generator": "lockstep \(lockstepVersion)"]) : nil
    saving = Saving(
      configuration, engine: synthetic.engine, communicator: communicator, publisher: publisher)
  }

  /// Runs as many saves as asked for, with steps without one between them.
  ///
  /// Collective. Throws: `Failure` of a save that failed, too.
  package func run(saves: Int) throws(Failure) -> Result {
    var (quiet, during, delays, blocked, durations) =
      ([Double](), [Double](), [Double](), [Double](), [Double]())
    var step = 1
    var bytes = 0
    func timed() throws(Failure) -> Double {
      try synthetic.communicator.barrier()
      let seconds = try synthetic.run(step)
      step += 1
      return try slowest(seconds)
    }
    // The first allocates; of the save, too, whose snapshot is kept.
    _ = try timed()
    for round in 0...saves {
      var own = [try timed(), try timed(), try timed()]
      let normal = median(own)
      saving.request()
      own = []
      var record = try advance(step)
      let watch = Stopwatch()
      while record == nil {
        own.append(try timed())
        record = try advance(step)
      }
      guard let record else { continue }
      if record.problem != nil { throw saving.problem ?? Failure(.internal, "a save failed") }
      guard round > 0 else { continue }
      bytes = record.byteCount
      quiet.append(normal)
      // The last of them was not beside the save all the time.
      during += own.dropLast()
      blocked.append(try slowest(record.blockedSeconds))
      delays.append(
        blocked[blocked.count - 1] + watch.seconds - normal * Double(own.count))
      durations.append(try slowest(record.seconds))
    }
    let (verify, restore) = try restart()
    return Result(
      ranks: synthetic.communicator.size, parameters: synthetic.engine.model.layout.count,
      checkpointBytes: bytes, stepSeconds: median(quiet), stepSecondsWhileSaving: median(during),
      stepsWhileSaving: during.count, delaySeconds: median(delays),
      blockedSeconds: median(blocked), saveSeconds: median(durations), verifySeconds: verify,
      restoreSeconds: restore)
  }

  private func advance(_ step: Int) throws(Failure) -> SaveRecord? {
    let united = try synthetic.communicator.agree(saving.flags(step: 0))
    return try saving.advance(united, Progress(step: step - 1), validationLoss: nil)
  }

  /// What a resumed run does with the newest checkpoint: rank 0 verifies, then all read.
  private func restart() throws(Failure) -> (verify: Double, restore: Double) {
    let communicator = synthetic.communicator
    let verifying = Stopwatch()
    let newest = try communicator.together { () throws(Failure) -> Checkpoint? in
      communicator.rank == 0 ? try store.newestVerified { (_: String) in } : nil
    }
    let verify = verifying.seconds
    let path = try communicator.broadcast(newest?.path ?? "")
    let digest = try communicator.broadcast(newest?.digest ?? "")
    let restoring = Stopwatch()
    try communicator.together { () throws(Failure) in
      let checkpoint =
        if let newest { newest } else { try Checkpoint(folder: path, verifiedElsewhere: digest) }
      _ = try synthetic.engine.restore(checkpoint)
    }
    return (try slowest(verify), try slowest(restoring.seconds))
  }

  private func slowest(_ seconds: Double) throws(Failure) -> Double {
    try synthetic.communicator.allGather([seconds]).map { $0[0] }.max() ?? seconds
  }
}
