import Core
import Messaging
import Models
import Tensors

/// Training steps of a configuration on synthetic sentences of one length, for benchmarks.
struct SyntheticSteps {
  let configuration: RunConfiguration
  let communicator: any Communicator
  let engine: StepEngine
  /// Of one micro-batch.
  let bounds: BatchBounds
  let length: Int
  private let batches: [MicroBatch]

  /// - Parameter length: tokens of each sentence on both sides, end included.
  ///
  /// Throws: `Failure` (.configuration) when there are more ranks than lanes.
  init(
    _ configuration: RunConfiguration, vocabularySize: Int, length: Int,
    communicator: any Communicator
  ) throws(Failure) {
    let microBatches = configuration.batch.lanes * configuration.batch.microBatches
    let budget = configuration.batch.tokens / microBatches
    guard budget >= length else {
      throw Failure(
        .configuration,
        "batch.tokens: expected at least \(length * microBatches) for sentences of \(length) tokens"
          + " in \(microBatches) micro-batches, found \(configuration.batch.tokens)")
    }
    self.configuration = configuration
    self.communicator = communicator
    self.length = length
    let sentences = budget / length
    let all = (0..<microBatches).map { index in
      Self.microBatch(index, sentences: sentences, length: length, vocabularySize: vocabularySize)
    }
    bounds = BatchBounds(all[0])
    let shape = configuration.shape(vocabularySize: vocabularySize)
    try shape.requirePositions(for: length, "the length of the sentences")
    let model = Transformer(shape, longestSequence: length)
    try model.requireCountable()
    engine = try StepEngine.together(
      model, bounds: bounds, configuration, communicator: communicator)
    batches = Array(all[engine.ownMicroBatches])
    for range in engine.weightsToFill {
      model.layout.initialize(engine.weights, in: range, seed: configuration.seed)
    }
    try communicator.nodeBarrier()
  }

  /// Of all micro-batches of a step.
  var targetTokens: Int {
    bounds.targetTokens * configuration.batch.lanes * configuration.batch.microBatches
  }

  /// Runs one step; returns how long it took here.
  ///
  /// Collective.
  func run(_ step: Int) throws(Failure) -> Double {
    let watch = Stopwatch()
    _ = try engine.step(
      step, microBatches: batches, targetTokens: targetTokens,
      learningRate: configuration.learningRateSchedule.rate(step: step))
    return watch.seconds
  }

  private static func microBatch(
    _ index: Int, sentences: Int, length: Int, vocabularySize: Int
  ) -> MicroBatch {
    let stream = RandomStream(seed: 1, purpose: .synthesis, site: index)
    var next = 0
    func sentence() -> [Int32] {
      (1..<length).map { _ in
        next += 1
        return Int32(3 + stream.bits(at: next) % UInt64(vocabularySize - 3))
      }
    }
    return MicroBatch(pairs: (0..<sentences).map { _ in (source: sentence(), target: sentence()) })
  }
}
