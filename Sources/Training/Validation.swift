import Core
import Datasets
import Messaging
import Tensors

/// The loss on held-out pairs, the same to the last bit for any number of ranks.
package struct Validation {
  private let plan: FixedPlan

  package init(_ plan: FixedPlan) { self.plan = plan }

  package var isEmpty: Bool { plan.pairCount == 0 }

  /// Micro-batch i is computed by replica i modulo their number; the sums are taken in plan order.
  ///
  /// Collective.
  package func run(
    _ engine: StepEngine, over communicator: any Communicator
  ) throws(Failure) -> (crossEntropy: Double, tokens: Int) {
    StepBeacon.set(.evaluating)
    defer { StepBeacon.set(.training) }
    try communicator.declare("a validation")
    let grid = engine.plan.grid
    let (count, batches) = try communicator.together { () throws(Failure) in
      let microBatches = try plan.microBatches()
      var batches: [MicroBatch] = []
      for index in stride(from: engine.plan.replica, to: microBatches.count, by: grid.replicas) {
        batches.append(try plan.load(microBatches[index]))
      }
      return (microBatches.count, batches)
    }
    let own = try engine.evaluate(batches).flatMap { loss in
      [loss.negativeLogLikelihood, Double(loss.tokens)]
    }
    let all = try communicator.allGather(own)
    let ranks = grid.ranks(ofStage: grid.stages - 1)
    var total = 0.0
    var tokens = 0.0
    for index in 0..<count {
      let place = index / grid.replicas * 2
      total += all[ranks[index % grid.replicas]][place]
      tokens += all[ranks[index % grid.replicas]][place + 1]
    }
    return (tokens > 0 ? total / tokens : 0, Int(tokens))
  }
}
