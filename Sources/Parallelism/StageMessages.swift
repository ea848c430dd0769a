import Core
import Foundation
import Messaging
import Models

/// The messages between the stages of a replica: through shared memory where two stages are on a
/// node, by the communicator where they are not.
final class StageMessages {
  /// Messages of different kinds must not meet; each kind arrives in the order it was sent.
  enum Channel {
    case activations
    case gradients
    /// Gradients of embedding rows that a chunk looked up.
    case tokenGradients(chunk: Int)

    var number: Int {
      switch self {
      case .activations: 3
      case .gradients: 4
      case .tokenGradients(let chunk): 8 + chunk
      }
    }
  }

  /// A sender may be two micro-batches ahead, each of them two matrices: what the encoder gives and
  /// what the decoder has.
  private static let slots = 4

  private let communicator: any Communicator
  private let mailboxes: NodeMailboxes?

  /// Collective. Throws: what `shareNodeMemory` throws.
  init(_ plan: StagePlan, bounds: BatchBounds, communicator: any Communicator) throws(Failure) {
    self.communicator = communicator
    let routes = Self.routes(plan)
    let nodes = communicator.nodes.nodeOfRank
    guard routes.contains(where: { nodes[$0.sender] == nodes[$0.receiver] }) else {
      mailboxes = nil
      return
    }
    let own = nodes[communicator.rank]
    mailboxes = try NodeMailboxes(
      routes.filter { nodes[$0.sender] == own && nodes[$0.receiver] == own }, slots: Self.slots,
      capacity: max(bounds.sourceTokens, bounds.targetTokens) * plan.model.shape.dimension,
      communicator: communicator)
  }

  var byteCount: Int { mailboxes?.byteCount ?? 0 }

  func start(
    _ transfers: [Transfer], _ channel: Channel
  ) throws(Failure) -> any PendingTransfers {
    guard let mailboxes else {
      return try communicator.start(transfers, channel: channel.number)
    }
    if let pending = try mailboxes.start(transfers, channel: channel.number) { return pending }
    return DistantTransfers(
      try communicator.start(transfers, channel: channel.number), beside: mailboxes,
      waits: communicator.waits)
  }

  /// Of all replicas, in an order all ranks agree on.
  private static func routes(_ plan: StagePlan) -> [NodeMailboxes.Route] {
    let placement = plan.placement
    guard placement.stages > 1 else { return [] }
    var stages: [(from: Int, to: Int, channel: Channel)] = []
    for chunk in 0..<placement.chunkCount {
      let stage = placement.stage(of: chunk)
      if let next = placement.nextStage(of: chunk) { stages.append((stage, next, .activations)) }
      if let previous = placement.previousStage(of: chunk) {
        stages.append((stage, previous, .gradients))
      }
    }
    for chunk in plan.schedule.tokenGradientSenders {
      stages.append(
        (placement.stage(of: chunk), placement.lastStage, .tokenGradients(chunk: chunk)))
    }
    var routes: [NodeMailboxes.Route] = []
    for replica in 0..<plan.grid.replicas {
      for stage in stages {
        let route = NodeMailboxes.Route(
          sender: plan.grid.rank(replica: replica, stage: stage.from),
          receiver: plan.grid.rank(replica: replica, stage: stage.to),
          channel: stage.channel.number)
        // The chunks of a stage share a route.
        if !routes.contains(route) { routes.append(route) }
      }
    }
    return routes
  }
}

/// Transfers to another node by a rank that has mailboxes too.
private final class DistantTransfers: PendingTransfers {
  private let transfers: any PendingTransfers
  private let mailboxes: NodeMailboxes
  private let waits: WaitWatch

  init(
    _ transfers: any PendingTransfers, beside mailboxes: NodeMailboxes, waits: WaitWatch
  ) {
    self.transfers = transfers
    self.mailboxes = mailboxes
    self.waits = waits
  }

  func isDone() throws(Failure) -> Bool {
    try mailboxes.moveOn()
    return try transfers.isDone()
  }

  func wait() throws(Failure) {
    if try mailboxes.moveOn(), try !transfers.isDone() {
      let missing = try transfers.missingRanks()
      waits.begin(.messages, missing.count == 1 ? missing[0] : nil)
      defer { waits.end() }
      // Whoever is to answer may itself wait for what still has no room in a mailbox.
      while try mailboxes.moveOn(), try !transfers.isDone() { sched_yield() }
    }
    try transfers.wait()
  }

  func missingRanks() throws(Failure) -> [Int] { try transfers.missingRanks() }
}
