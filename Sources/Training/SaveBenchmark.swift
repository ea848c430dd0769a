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
  /// Throws: `Failure` (.configuration when there are more ranks than lanes, .internal when no
  /// thread can be started).
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
        contentDigest: nil, provenance: ["generator": "lockstep \(lockstepVersion)"]) : nil
    let engine = synthetic.engine
    saving = try communicator.together { () throws(Failure) in
      try Saving(
        configuration, engine: engine, communicator: communicator, publisher: publisher)
    }
  }

  /// Runs as many saves as asked for, with steps without one between them.
  ///
  /// Collective. Throws: `Failure` of a save that failed, too.
  package func run(saves: Int) throws(Failure) -> Result {
    var (quiet, during, delays, blocked, durations) =
      ([Double](), [Double](), [Double](), [Double](), [Double]())
    var step = 0
    var bytes = 0
    func timed() throws(Failure) -> Double {
      step += 1
      try synthetic.communicator.barrier()
      return try slowest(try synthetic.run(step))
    }
    // The first allocates; so does the first save, whose snapshot is kept.
    _ = try timed()
    for round in 0...saves {
      let normal = median([try timed(), try timed(), try timed()])
      saving.request()
      var beside: [Double] = []
      var record = try advance(past: step)
      let watch = Stopwatch()
      while record == nil {
        beside.append(try timed())
        record = try advance(past: step)
      }
      let delay = watch.seconds - normal * Double(beside.count)
      if let problem = saving.problem { throw problem }
      guard round > 0, let record else { continue }
      bytes = record.byteCount
      quiet.append(normal)
      // The last of them was not beside the save all the time.
      during += beside.dropLast()
      blocked.append(try slowest(record.blockedSeconds))
      delays.append(delay + blocked[blocked.count - 1])
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

  /// What a run does between two steps; saves are asked for here, whatever is due.
  private func advance(past step: Int) throws(Failure) -> SaveRecord? {
    let united = try synthetic.communicator.agree(saving.flags(step: step))
    return try saving.advance(
      united, Progress(step: step), validationLoss: nil, isPromised: false
    ).last
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
