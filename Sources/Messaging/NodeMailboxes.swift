import Core
import Tensors

/// Messages between ranks of a node through shared memory: the sender copies and goes on.
///
/// MPI moves a long message only while both ends are inside MPI, so a rank that computes lets the
/// other wait; here it finds the message when it comes.
package final class NodeMailboxes {
  /// One direction between two ranks of a node. Messages of a route arrive in the order in which
  /// they were sent.
  package struct Route: Hashable, Sendable {
    package var sender: Int
    package var receiver: Int
    package var channel: Int

    package init(sender: Int, receiver: Int, channel: Int) {
      self.sender = sender
      self.receiver = receiver
      self.channel = channel
    }
  }

  private let communicator: any Communicator
  private let counters: NodeCounters
  /// Those this rank is an end of.
  private let boxes: [Route: Mailbox]
  /// What the messages this rank sends may occupy.
  package let byteCount: Int

  /// Collective, on all nodes.
  /// - Parameters:
  ///   - routes: of this node, the same list on all its ranks.
  ///   - slots: messages a route holds; a sender that is further ahead keeps what it sends.
  ///   - capacity: floats of a slot; longer messages take several.
  ///
  /// Throws: what `shareNodeMemory` throws.
  package init(
    _ routes: [Route], slots: Int, capacity: Int, communicator: any Communicator
  ) throws(Failure) {
    precondition(slots > 0 && capacity > 0, "a mailbox holds something")
    let rank = communicator.rank
    let slotCount = Mailbox.headerCount + capacity
    let each = slots * slotCount
    let count = routes.count { $0.sender == rank } * each
    byteCount = count * MemoryLayout<Float>.stride
    let memory = try communicator.shareNodeMemory(count: count, "mailboxes")
    let counters = try communicator.shareNodeCounters(count: max(1, routes.count))
    var boxes: [Route: Mailbox] = [:]
    for (index, route) in routes.enumerated() {
      guard route.sender == rank || route.receiver == rank else { continue }
      let first = routes[..<index].count { $0.sender == route.sender } * each
      let part = memory.vector(of: route.sender)[first..<first + each]
      boxes[route] = Mailbox(
        route, isSender: route.sender == rank, index: index, counters: counters,
        slots: (0..<slots).map { part[$0 * slotCount..<($0 + 1) * slotCount] })
    }
    self.communicator = communicator
    self.counters = counters
    self.boxes = boxes
  }

  /// Starts transfers as `Communicator.start` does; nil, and nothing started, when there is no
  /// route for one of them.
  package func start(
    _ transfers: [Transfer], channel: Int
  ) throws(Failure) -> (any PendingTransfers)? {
    var pairs: [(box: Mailbox, vector: Vector)] = []
    for transfer in transfers {
      let route: Route
      let vector: Vector
      switch transfer {
      case .send(let sent, let peer):
        route = Route(sender: communicator.rank, receiver: peer, channel: channel)
        vector = sent
      case .receive(let room, let peer):
        route = Route(sender: peer, receiver: communicator.rank, channel: channel)
        vector = room
      }
      guard let box = boxes[route] else { return nil }
      pairs.append((box, vector))
    }
    let tickets = pairs.map { (box: $0.box, number: $0.box.add($0.vector)) }
    try moveOn()
    return MailTransfers(self, tickets)
  }

  /// Copies whatever can be copied by now; true while something this rank sends waits for room.
  @discardableResult
  package func moveOn() throws(Failure) -> Bool {
    var isBehind = false
    for box in boxes.values {
      try box.moveOn()
      isBehind = isBehind || box.isBehind
    }
    return isBehind
  }

  fileprivate func wait(for box: Mailbox, _ number: Int) throws(Failure) {
    try box.moveOn()
    guard box.moved < number else { return }
    communicator.waits.begin(.messages, box.peer)
    defer { communicator.waits.end() }
    while box.moved < number {
      // A rank that waits for this one's messages, here or on another node, must get them.
      try counters.wait(box.index, of: box.peer, atLeast: box.awaited) { () throws(Failure) in
        try moveOn()
        try communicator.moveMessagesOn()
      }
      try box.moveOn()
    }
  }
}

/// One end of a route.
private final class Mailbox {
  /// Floats before a message, of which the first is its length: a cache line.
  static let headerCount = 16

  let index: Int
  /// The rank at the other end.
  let peer: Int
  /// Pieces that this end has copied since the start.
  private(set) var moved = 0
  private let isSender: Bool
  private let counters: NodeCounters
  private let slots: [Vector]
  /// Pieces to copy, oldest first.
  private var queue: [Vector] = []

  init(
    _ route: NodeMailboxes.Route, isSender: Bool, index: Int, counters: NodeCounters,
    slots: [Vector]
  ) {
    self.isSender = isSender
    self.index = index
    self.counters = counters
    self.slots = slots
    peer = isSender ? route.receiver : route.sender
  }

  /// Returns: how many pieces have been copied when the message is through.
  func add(_ vector: Vector) -> Int {
    let capacity = slots[0].count - Self.headerCount
    var start = 0
    // An empty message is one empty piece.
    repeat {
      let end = min(vector.count, start + capacity)
      queue.append(vector[start..<end])
      start = end
    } while start < vector.count
    return moved + queue.count
  }

  /// Whether messages to the other end wait for room.
  var isBehind: Bool { isSender && !queue.isEmpty }

  /// What the other end's counter has to reach before the next piece can be copied.
  var awaited: Int { isSender ? moved + 1 - slots.count : moved + 1 }

  /// Copies as many pieces as the other end allows.
  func moveOn() throws(Failure) {
    while let piece = queue.first, counters.value(index, of: peer) >= awaited {
      let slot = slots[moved % slots.count]
      let content = slot[Self.headerCount..<Self.headerCount + piece.count]
      if isSender {
        slot.base[0] = Float(bitPattern: UInt32(piece.count))
        content.copy(from: piece)
      } else {
        let sent = slot.base[0].bitPattern
        guard sent == piece.count else {
          throw Failure(
            .internal,
            "rank \(peer) sent \(sent) floats where \(piece.count) were expected")
        }
        piece.copy(from: content)
      }
      queue.removeFirst()
      moved += 1
      counters.publish(index, moved)
    }
  }
}

private final class MailTransfers: PendingTransfers {
  private let mailboxes: NodeMailboxes
  private let tickets: [(box: Mailbox, number: Int)]

  init(_ mailboxes: NodeMailboxes, _ tickets: [(box: Mailbox, number: Int)]) {
    self.mailboxes = mailboxes
    self.tickets = tickets
  }

  func isDone() throws(Failure) -> Bool {
    try mailboxes.moveOn()
    return tickets.allSatisfy { $0.box.moved >= $0.number }
  }

  func wait() throws(Failure) {
    for ticket in tickets { try mailboxes.wait(for: ticket.box, ticket.number) }
  }

  func missingRanks() throws(Failure) -> [Int] {
    try mailboxes.moveOn()
    return Set(tickets.filter { $0.box.moved < $0.number }.map(\.box.peer)).sorted()
  }
}
