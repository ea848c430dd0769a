import Core
import Foundation
import Messaging
import Models
import Tensors

/// Times whole training steps on synthetic sentences, beside the fastest matrix product this
/// machine does in the same run.
package struct StepBenchmark {
  /// Medians over the measured steps; per rank where it says so.
  package struct Result: Codable, Equatable, Sendable {
    package var ranks: Int
    package var blasKernels: String
    package var parameters: Int
    package var tokensPerStep: Int
    package var sentenceLength: Int
    package var stepSeconds: Double
    /// Source and target tokens, all ranks.
    package var tokensPerSecond: Double
    /// Of one rank.
    package var gigaflopsPerSecond: Double
    /// Of one rank, all ranks measuring at once, between the steps.
    package var productGigaflopsPerSecond: Double
    package var shareOfProductPeak: Double
    /// Shares of the step on rank 0.
    package var lanesShare: Double
    package var exchangeShare: Double
    package var updateShare: Double
    package var peakResidentBytes: Int
  }

  private let synthetic: SyntheticSteps

  /// - Parameter length: tokens of each sentence on both sides, end included.
  ///
  /// Throws: `Failure` (.configuration) when there are more ranks than lanes.
  package init(
    _ configuration: RunConfiguration, vocabularySize: Int, length: Int,
    communicator: any Communicator
  ) throws(Failure) {
    synthetic = try SyntheticSteps(
      configuration, vocabularySize: vocabularySize, length: length, communicator: communicator)
  }

  /// Runs one warm-up step and `steps` measured ones.
  ///
  /// Collective.
  package func run(steps: Int) throws(Failure) -> Result {
    let (engine, communicator) = (synthetic.engine, synthetic.communicator)
    var seconds: [Double] = []
    var products: [Double] = []
    var phases: [StepEngine.Phases] = []
    for step in 0...steps {
      try communicator.barrier()
      products.append(Self.productSpeed())
      try communicator.barrier()
      let time = try synthetic.run(step + 1)
      guard step > 0 else { continue }
      seconds.append(time)
      phases.append(engine.phases)
    }
    let step = median(seconds)
    let configuration = synthetic.configuration
    let microBatches = configuration.batch.lanes * configuration.batch.microBatches
    let operations = engine.model.trainingOperations(synthetic.bounds) * Double(microBatches)
    let tokens = 2 * synthetic.targetTokens
    let speed = operations / step / Double(communicator.size) / 1e9
    let product = median(try communicator.allGather([median(products)]).map { $0[0] })
    return Result(
      ranks: communicator.size, blasKernels: KernelSet.blasCore,
      parameters: engine.model.layout.count, tokensPerStep: tokens,
      sentenceLength: synthetic.length, stepSeconds: step,
      tokensPerSecond: Double(tokens) / step, gigaflopsPerSecond: speed,
      productGigaflopsPerSecond: product, shareOfProductPeak: speed / product,
      lanesShare: median(phases.map(\.lanes)) / step,
      exchangeShare: median(phases.map(\.exchange)) / step,
      updateShare: median(phases.map(\.update)) / step, peakResidentBytes: peakResidentBytes())
  }

  /// GFLOP/s of the best of several products of a shape BLAS likes.
  private static func productSpeed() -> Double {
    let (m, n, k) = (2048, 2048, 512)
    let a = FloatBuffer(count: m * k)
    let b = FloatBuffer(count: n * k)
    let c = FloatBuffer(count: m * n)
    a.view.fill(0.5)
    b.view.fill(0.25)
    var best = Double.infinity
    for _ in 0..<6 {
      let watch = Stopwatch()
      multiply(
        a.view.matrix(rows: m, columns: k), b.view.matrix(rows: n, columns: k).transposed,
        into: c.view.matrix(rows: m, columns: n))
      best = min(best, watch.seconds)
    }
    return 2 * Double(m) * Double(n) * Double(k) / best / 1e9
  }
}

/// The middle value, or the mean of the two in the middle; 0 without values.
func median(_ values: [Double]) -> Double {
  let sorted = values.sorted()
  return sorted.isEmpty ? 0 : (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
}

/// The most memory this process ever had resident.
package func peakResidentBytes() -> Int {
  var usage = rusage()
  getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
  return usage.ru_maxrss * 1024
}
