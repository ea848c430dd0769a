import Core
import Foundation
import Tensors

/// The state that ranks on threads share: one lock, one condition, collective rounds and mailboxes.
final class RankGroup: @unchecked Sendable {
  // Unchecked: everything below `condition` is read and written with it locked.
  let size: Int
  private let condition = NSCondition()
  /// Counts the changes a waiting rank might be waiting for.
  private var generation = 0
  /// What a waiting rank waits for, and the generation in which it found that missing.
  private var waits: [Wait?]
  private var hasLeft: [Bool]
  private var end: Failure?
  private var rounds: [Int: Round] = [:]
  private var nextRound: [Int]
  /// Messages on their way, at `from * size + to`.
  private var mailboxes: [[Message]]

  private struct Wait {
    let operation: String
    var generation: Int
  }

  private struct Round {
    let operation: String
    var contributions: [[UInt8]?]
    var takers = 0
  }

  private final class Message {
    let vector: Vector
    var isTaken = false

    init(_ vector: Vector) { self.vector = vector }
  }

  init(size: Int) {
    self.size = size
    waits = Array(repeating: nil, count: size)
    hasLeft = Array(repeating: false, count: size)
    nextRound = Array(repeating: 0, count: size)
    mailboxes = Array(repeating: [], count: size * size)
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

  func exchange(_ transfers: [Transfer], rank: Int) throws(Failure) {
    condition.lock()
    defer { condition.unlock() }
    var sent: [Message] = []
    var pending: [(target: Vector, peer: Int)] = []
    for transfer in transfers {
      switch transfer {
      case .send(let vector, let peer):
        precondition(0..<size ~= peer, "rank \(peer) does not exist")
        let message = Message(vector)
        mailboxes[rank * size + peer].append(message)
        sent.append(message)
      case .receive(let vector, let peer):
        precondition(0..<size ~= peer, "rank \(peer) does not exist")
        pending.append((vector, peer))
      }
    }
    progress()
    try wait(rank, "exchange") { () throws(Failure) in
      pending = try takeAvailable(pending, rank: rank)
      return pending.isEmpty && sent.allSatisfy(\.isTaken)
    }
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

  /// Receives what has arrived, in order; returns what is still to come.
  private func takeAvailable(
    _ pending: [(target: Vector, peer: Int)], rank: Int
  ) throws(Failure) -> [(target: Vector, peer: Int)] {
    var missing: [(target: Vector, peer: Int)] = []
    for (target, peer) in pending {
      let box = peer * size + rank
      guard let message = mailboxes[box].first else {
        missing.append((target, peer))
        continue
      }
      mailboxes[box].removeFirst()
      guard message.vector.count == target.count else {
        throw fail(
          "exchange on rank \(rank): rank \(peer) sent \(message.vector.count) floats where "
            + "\(target.count) were expected")
      }
      target.copy(from: message.vector)
      message.isTaken = true
      progress()
    }
    return missing
  }

  private func wait(
    _ rank: Int, _ operation: String, until isDone: () throws(Failure) -> Bool
  ) throws(Failure) {
    defer { waits[rank] = nil }
    while true {
      if let end { throw end }
      if try isDone() { return }
      // Asked for first: `isDone` may itself be the progress another rank waits for.
      waits[rank] = Wait(operation: operation, generation: generation)
      let ranks = (0..<size).filter { !hasLeft[$0] }
      if ranks.allSatisfy({ waits[$0]?.generation == generation }) {
        let list = ranks.map { "rank \($0) in \(waits[$0]?.operation ?? "")" }
        throw fail("every rank waits for another: " + list.joined(separator: ", "))
      }
      condition.wait()
    }
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
