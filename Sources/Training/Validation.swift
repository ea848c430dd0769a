import Core
import Datasets
import Messaging
import Tensors

/// The loss on held-out pairs, the same to the last bit for any number of ranks.
package struct Validation {
  private let plan: FixedPlan

  package init(_ plan: FixedPlan) { self.plan = plan }

  package var isEmpty: Bool { plan.microBatches.isEmpty }

  /// Micro-batch i is computed by rank i modulo the rank count; the sums are taken in plan order.
  ///
  /// Collective.
  package func run(
    _ engine: StepEngine, over communicator: any Communicator
  ) throws(Failure) -> (crossEntropy: Double, tokens: Int) {
    StepBeacon.set(.evaluating)
    defer { StepBeacon.set(.training) }
    let size = communicator.size
    let own = try communicator.together { () throws(Failure) in
      var sums: [Double] = []
      for index in stride(from: communicator.rank, to: plan.microBatches.count, by: size) {
        let loss = engine.evaluate(try plan.load(plan.microBatches[index]))
        sums += [loss.negativeLogLikelihood, Double(loss.tokens)]
      }
      return sums
    }
    let all = try communicator.allGather(own)
    var total = 0.0
    var tokens = 0.0
    for index in plan.microBatches.indices {
      let place = index / size * 2
      total += all[index % size][place]
      tokens += all[index % size][place + 1]
    }
    return (tokens > 0 ? total / tokens : 0, Int(tokens))
  }
}
