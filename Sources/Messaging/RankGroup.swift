import Core
import Foundation
import Tensors

/// The state that ranks on threads share: one lock, one condition, collective rounds, mailboxes and
/// node memory.
final class RankGroup: @unchecked Sendable {
  // Unchecked: everything below `condition` is read and written with it locked.
  let size: Int
  let nodes: NodeTopology
  private let condition = NSCondition()
  /// Counts the changes a waiting rank might be waiting for.
  private var generation = 0
  /// What a waiting rank waits for, and the generation in which it found that missing.
  private var waits: [Wait?]
  private var hasLeft: [Bool]
  private var end: Failure?
  private var rounds: [Int: Round] = [:]
  private var nextRound: [Int]
  /// Messages that wait to be received, first sent first.
  private var mailboxes: [Route: [Message]] = [:]
  /// What each rank expects, first started first.
  private var receives: [[Receive]]
  /// Each rank's parts of node memory, in the order in which they were shared.
  private var nodeBuffers: [[NodeBuffer]]
  /// How often each rank has come to a barrier of its node.
  private var nodeBarriers: [Int]

  private struct Wait {
    let operation: String
    var generation: Int
  }

  private struct Round {
    let operation: String
    var contributions: [[UInt8]?]
    var takers = 0
  }

  private struct Route: Hashable {
    let from: Int
    let to: Int
    let channel: Int
  }

  init(nodes: NodeTopology) {
    self.nodes = nodes
    size = nodes.nodeOfRank.count
    waits = Array(repeating: nil, count: size)
    hasLeft = Array(repeating: false, count: size)
    nextRound = Array(repeating: 0, count: size)
    receives = Array(repeating: [], count: size)
    nodeBuffers = Array(repeating: [], count: size)
    nodeBarriers = Array(repeating: 0, count: size)
  }

  /// One end of a transfer.
  class Message {
    let vector: Vector
    fileprivate(set) var isTaken = false

    init(_ vector: Vector) { self.vector = vector }
  }

  private final class Receive: Message {
    let route: Route

    init(_ vector: Vector, _ route: Route) {
      self.route = route
      super.init(vector)
    }
  }

  /// Every rank's bytes by rank, once every rank has called it with the same operation.
  func gather(_ bytes: [UInt8], _ operation: String, rank: Int) throws(Failure) -> [[UInt8]] {
    condition.lock()
    defer { condition.unlock() }
    let number = nextRound[rank]
    nextRound[rank] += 1
    var round =
      rounds[number]
      ?? Round(operation: operation, contributions: Array(repeating: nil, count: size))
    guard round.operation == operation else {
      throw fail("\(operation) on rank \(rank): another rank is at \(round.operation)")
    }
    round.contributions[rank] = bytes
    rounds[number] = round
    progress()
    var all: [[UInt8]] = []
    try wait(rank, operation) { () throws(Failure) in
      all = rounds[number]?.contributions.compactMap { $0 } ?? []
      return all.count == size
    }
    rounds[number]?.takers += 1
    if rounds[number]?.takers == size { rounds[number] = nil }
    return all
  }

  func start(_ transfers: [Transfer], channel: Int, rank: Int) -> [Message] {
    condition.lock()
    defer { condition.unlock() }
    let started = transfers.map { transfer -> Message in
      switch transfer {
      case .send(let vector, let peer):
        precondition(0..<size ~= peer, "rank \(peer) does not exist")
        let message = Message(vector)
        mailboxes[Route(from: rank, to: peer, channel: channel), default: []].append(message)
        return message
      case .receive(let vector, let peer):
        precondition(0..<size ~= peer, "rank \(peer) does not exist")
        let receive = Receive(vector, Route(from: peer, to: rank, channel: channel))
        receives[rank].append(receive)
        return receive
      }
    }
    progress()
    return started
  }

  func areDone(_ messages: [Message], rank: Int) throws(Failure) -> Bool {
    condition.lock()
    defer { condition.unlock() }
    if let end { throw end }
    try takeAvailable(rank)
    return messages.allSatisfy(\.isTaken)
  }

  func wait(for messages: [Message], rank: Int) throws(Failure) {
    condition.lock()
    defer { condition.unlock() }
    try wait(rank, "exchange") { messages.allSatisfy(\.isTaken) }
  }

  /// Waits for what happens without the lock; every change of it is followed by `announce`.
  func wait(
    _ rank: Int, _ operation: String, _ whileWaiting: () throws(Failure) -> Void,
    until isDone: () -> Bool
  ) throws(Failure) {
    while true {
      condition.lock()
      let seen = generation
      let end = end
      condition.unlock()
      if let end { throw end }
      if isDone() { return }
      try whileWaiting()
      condition.lock()
      defer { condition.unlock() }
      try takeAvailable(rank)
      if generation == seen { try sleep(rank, operation) }
    }
  }

  func announce() {
    condition.lock()
    defer { condition.unlock() }
    progress()
  }

  /// The parts of the node's ranks that were shared in the same call.
  func share(
    _ buffer: NodeBuffer, with ranks: [Int], _ operation: String, rank: Int
  ) throws(Failure) -> [Int: NodeBuffer] {
    condition.lock()
    let index = nodeBuffers[rank].count
    nodeBuffers[rank].append(buffer)
    condition.unlock()
    _ = try gather([], operation, rank: rank)
    condition.lock()
    defer { condition.unlock() }
    return Dictionary(uniqueKeysWithValues: ranks.map { ($0, nodeBuffers[$0][index]) })
  }

  func nodeBarrier(with ranks: [Int], rank: Int) throws(Failure) {
    condition.lock()
    defer { condition.unlock() }
    nodeBarriers[rank] += 1
    let round = nodeBarriers[rank]
    progress()
    try wait(rank, "nodeBarrier") { ranks.allSatisfy { nodeBarriers[$0] >= round } }
  }

  /// Ends the job: from now on every operation of every rank throws the first such failure.
  func end(_ failure: Failure) {
    condition.lock()
    defer { condition.unlock() }
    if end == nil { end = failure }
    progress()
  }

  /// A rank's last word: nobody may wait for it any more.
  func leave(_ rank: Int) {
    condition.lock()
    defer { condition.unlock() }
    hasLeft[rank] = true
    progress()
  }

  func waitUntilAllLeft() {
    condition.lock()
    defer { condition.unlock() }
    while hasLeft.contains(false) { condition.wait() }
  }

  // MARK: With the lock held

  /// Receives what has arrived for a rank, in order.
  ///
  /// Only in calls of that rank: until then a sender sees what it does to a message on its way.
  private func takeAvailable(_ rank: Int) throws(Failure) {
    var missing: [Receive] = []
    for receive in receives[rank] {
      let route = receive.route
      guard let message = mailboxes[route]?.first else {
        missing.append(receive)
        continue
      }
      mailboxes[route]?.removeFirst()
      guard message.vector.count == receive.vector.count else {
        throw fail(
          "exchange on rank \(rank): rank \(route.from) sent \(message.vector.count) floats "
            + "where \(receive.vector.count) were expected")
      }
      receive.vector.copy(from: message.vector)
      message.isTaken = true
      receive.isTaken = true
      progress()
    }
    receives[rank] = missing
  }

  private func wait(
    _ rank: Int, _ operation: String, until isDone: () throws(Failure) -> Bool
  ) throws(Failure) {
    while true {
      if let end { throw end }
      // Asked for first: both may themselves be the progress another rank waits for.
      try takeAvailable(rank)
      if try isDone() { return }
      try sleep(rank, operation)
    }
  }

  /// Sleeps until something changes; if every rank does that, nothing ever will.
  private func sleep(_ rank: Int, _ operation: String) throws(Failure) {
    if let end { throw end }
    waits[rank] = Wait(operation: operation, generation: generation)
    defer { waits[rank] = nil }
    let ranks = (0..<size).filter { !hasLeft[$0] }
    if ranks.allSatisfy({ waits[$0]?.generation == generation }) {
      let list = ranks.map { "rank \($0) in \(waits[$0]?.operation ?? "")" }
      throw fail("every rank waits for another: " + list.joined(separator: ", "))
    }
    condition.wait()
  }

  private func progress() {
    generation += 1
    condition.broadcast()
  }

  private func fail(_ message: String) -> Failure {
    let failure = end ?? Failure(.internal, message)
    end = failure
    progress()
    return failure
  }
}
