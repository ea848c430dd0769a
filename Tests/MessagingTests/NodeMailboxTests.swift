import Core
import Messaging
import Tensors
import Testing

/// Messages through node memory, on threads, where every mistake is noticed.
@Suite struct NodeMailboxTests {
  private static let routes = [
    NodeMailboxes.Route(sender: 0, receiver: 1, channel: 3),
    NodeMailboxes.Route(sender: 1, receiver: 0, channel: 4),
    NodeMailboxes.Route(sender: 0, receiver: 1, channel: 8),
  ]

  private static func mailboxes(
    _ communicator: any Communicator, slots: Int = 2, capacity: Int = 5
  ) throws(Failure) -> NodeMailboxes {
    try NodeMailboxes(routes, slots: slots, capacity: capacity, communicator: communicator)
  }

  private static func transfers(
    _ mailboxes: NodeMailboxes, _ transfers: [Transfer], _ channel: Int
  ) throws -> any PendingTransfers {
    try #require(try mailboxes.start(transfers, channel: channel))
  }

  @Test func aSendIsDoneAtOnceWhileThereIsRoom() throws {
    let answers = try withRanks(2) { communicator in
      let mailboxes = try Self.mailboxes(communicator)
      let room = FloatBuffer(count: 3)
      if communicator.rank == 0 {
        room.view.fill(4)
        let sent = try Self.transfers(mailboxes, [.send(room.view, to: 1)], 3)
        let isDone = try sent.isDone()
        // What was sent may be overwritten.
        room.view.fill(9)
        try communicator.barrier()
        return isDone
      }
      try communicator.barrier()
      try Self.transfers(mailboxes, [.receive(into: room.view, from: 0)], 3).wait()
      return room.view.array == [4, 4, 4]
    }
    #expect(answers == [true, true])
  }

  /// Of several lengths, empty and longer than a slot, far more than there are slots.
  @Test(arguments: [1, 2, 7]) func messagesArriveInOrderAndWhole(slots: Int) throws {
    let lengths = [3, 0, 11, 5, 1, 20, 0, 4, 10]
    let total = lengths.reduce(0, +)
    let answers = try withRanks(2) { communicator in
      let mailboxes = try Self.mailboxes(communicator, slots: slots)
      let buffer = FloatBuffer(count: total)
      let isSender = communicator.rank == 0
      for index in 0..<total { buffer.view.base[index] = isSender ? Float(index + 1) : 0 }
      var start = 0
      let pending = try lengths.map { length in
        let part = buffer.view[start..<start + length]
        start += length
        return try Self.transfers(
          mailboxes, [isSender ? .send(part, to: 1) : .receive(into: part, from: 0)], 3)
      }
      // Not in the order in which they were started.
      for each in pending.reversed() { try each.wait() }
      return buffer.view.array == (1...total).map { Float($0) }
    }
    #expect(answers == [true, true])
  }

  @Test func bothDirectionsAndChannelsKeepApart() throws {
    let sums = try withRanks(2) { communicator in
      let mailboxes = try Self.mailboxes(communicator, slots: 1)
      let room = FloatBuffer(count: 6)
      let parts = (0..<3).map { room.view[2 * $0..<2 * $0 + 2] }
      let rank = communicator.rank
      var pending: [any PendingTransfers] = []
      for round in 0..<50 {
        for (index, route) in Self.routes.enumerated() {
          let isSender = route.sender == rank
          if isSender { parts[index].fill(Float(round * 3 + index)) }
          let transfer: Transfer =
            isSender
            ? .send(parts[index], to: 1 - rank) : .receive(into: parts[index], from: 1 - rank)
          pending.append(try Self.transfers(mailboxes, [transfer], route.channel))
        }
        for each in pending { try each.wait() }
        for index in 0..<3 {
          guard parts[index].array == [Float(round * 3 + index), Float(round * 3 + index)] else {
            return -1
          }
        }
        pending = []
      }
      return 1
    }
    #expect(sums == [1, 1])
  }

  @Test func anotherLengthThanExpectedIsAnError() {
    #expect {
      try withRanks(2) { communicator in
        let mailboxes = try Self.mailboxes(communicator)
        let room = FloatBuffer(count: 3)
        if communicator.rank == 0 {
          _ = try Self.transfers(mailboxes, [.send(room.view, to: 1)], 3)
        } else {
          try Self.transfers(mailboxes, [.receive(into: room.view[0..<2], from: 0)], 3).wait()
        }
      }
    } throws: { error in
      (error as? Failure)?.message == "rank 0 sent 3 floats where 2 were expected"
    }
  }

  @Test func withoutARouteNothingIsStarted() throws {
    let answers = try withRanks(2) { communicator in
      let mailboxes = try Self.mailboxes(communicator)
      let room = FloatBuffer(count: 3)
      return try mailboxes.start([.send(room.view, to: 1 - communicator.rank)], channel: 5) == nil
    }
    #expect(answers == [true, true])
  }
}
