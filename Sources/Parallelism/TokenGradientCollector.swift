import Core
import Layers
import Messaging
import Models
import Tensors

/// Brings the gradients of embedding rows from the stages that looked them up to the last stage,
/// which has the shared embedding's gradient.
final class TokenGradientCollector {
  private let plan: StagePlan
  private let messages: StageMessages
  private let stores: [TokenGradientStore]
  private var arrivals: [[any PendingTransfers]]

  init(_ plan: StagePlan, bounds: BatchBounds, messages: StageMessages) {
    self.plan = plan
    self.messages = messages
    let each = plan.schedule.microBatchesPerLane
    // Without a pipeline a lane's last rows are added before anything overwrites them.
    let copies = plan.placement.stages == 1 ? each - 1 : each
    stores = (0..<plan.schedule.openLanes).map { _ in
      TokenGradientStore(plan.model, copies: copies, bounds: bounds)
    }
    arrivals = Array(repeating: [], count: stores.count)
  }

  var byteCount: Int { stores.reduce(0) { $0 + $1.byteCount } }

  /// Makes ready for the rows of a lane (numbered from 0 in the replica) from other stages.
  func open(_ lane: Int, _ batches: [MicroBatch]) throws(Failure) {
    let each = plan.schedule.microBatchesPerLane
    let slot = lane % stores.count
    for index in 0..<each {
      let batch = batches[lane * each + index]
      for chunk in plan.schedule.tokenGradientSenders {
        let sender = plan.rank(ofStage: plan.placement.stage(of: chunk))
        let transfers = sides(of: chunk).map { side in
          let rows =
            side == .source ? batch.source.tokens.count : batch.targetInput.tokens.count
          let room = stores[slot].room(microBatch: index, side, rows: rows)
          return Transfer.receive(into: room.vector, from: sender)
        }
        arrivals[slot].append(try messages.start(transfers, .tokenGradients(chunk: chunk)))
      }
    }
  }

  /// Keeps rows that this rank made itself.
  func keep(_ gradients: [(side: TokenSide, rows: Matrix)], lane: Int, _ index: Int) {
    let store = stores[lane % stores.count]
    let mayLend =
      plan.placement.stages == 1 && index == plan.schedule.microBatchesPerLane - 1
    for (side, rows) in gradients {
      if mayLend {
        store.lend(microBatch: index, side, rows: rows)
      } else {
        store.room(microBatch: index, side, rows: rows.rows).vector.copy(from: rows.vector)
      }
    }
  }

  /// Adds the rows of all micro-batches of a lane to its embedding gradient.
  func collect(
    _ lane: Int, _ batches: [MicroBatch], into gradients: GradientTarget
  ) throws(Failure) {
    let each = plan.schedule.microBatchesPerLane
    let slot = lane % stores.count
    for arrival in arrivals[slot] { try arrival.wait() }
    arrivals[slot] = []
    stores[slot].add(Array(batches[lane * each..<(lane + 1) * each]), into: gradients)
  }

  /// What a chunk looks up, in the order in which its backward pass returns the gradients.
  private func sides(of chunk: Int) -> [TokenSide] {
    let model = plan.model.chunk(plan.partition.blocks[chunk])
    return (model.holdsTargetEmbedding ? [.target] : [])
      + (model.holdsSourceEmbedding ? [.source] : [])
  }
}
