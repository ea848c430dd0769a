import Core
import Messaging
import Tensors
import Testing

/// Transfers and counters that ranks wait for later, on threads, where every mistake is noticed.
@Suite struct PendingTransferTests {
  @Test func aSendIsDoneWhenItIsReceivedAndNotBefore() throws {
    let answers = try withRanks(2) { communicator in
      let room = FloatBuffer(count: 3)
      if communicator.rank == 1 {
        try communicator.barrier()
        try communicator.barrier()
        try communicator.exchange([.receive(into: room.view, from: 0)])
        return room.view.array == [4, 4, 4]
      }
      room.view.fill(4)
      let pending = try communicator.start([.send(room.view, to: 1)], channel: 0)
      try communicator.barrier()
      let isDoneEarly = try pending.isDone()
      try communicator.barrier()
      try pending.wait()
      return try !isDoneEarly && pending.isDone()
    }
    #expect(answers == [true, true])
  }

  /// Rank 0 sleeps in the second of two, and the first one's sender must not wait for that.
  @Test func waitingMovesAllTransfersOn() throws {
    let sums = try withRanks(2) { communicator in
      let room = FloatBuffer(count: 2)
      let one = room.view[0..<1]
      let two = room.view[1..<2]
      if communicator.rank == 0 {
        let first = try communicator.start([.receive(into: one, from: 1)], channel: 1)
        let second = try communicator.start([.receive(into: two, from: 1)], channel: 2)
        try second.wait()
        try first.wait()
      } else {
        one.fill(3)
        two.fill(5)
        try communicator.start([.send(one, to: 0)], channel: 1).wait()
        try communicator.start([.send(two, to: 0)], channel: 2).wait()
      }
      return room.view.array.reduce(0, +)
    }
    #expect(sums == [8, 8])
  }

  @Test func otherChannelsDoNotMatch() {
    #expect {
      try withRanks(2) { communicator in
        let room = FloatBuffer(count: 1)
        let transfer: Transfer =
          communicator.rank == 0 ? .send(room.view, to: 1) : .receive(into: room.view, from: 0)
        try communicator.start([transfer], channel: communicator.rank).wait()
      }
    } throws: { error in
      (error as? Failure)?.message.contains("every rank waits for another") == true
    }
  }

  @Test func ranksThatWaitForCountersAndMessagesAreToldSo() {
    #expect {
      try withRanks(3) { communicator in
        let counters = try communicator.shareNodeCounters(count: 1)
        let room = FloatBuffer(count: 1)
        switch communicator.rank {
        case 0: try counters.wait(0, of: 1, atLeast: 1)
        case 1: try communicator.exchange([.receive(into: room.view, from: 0)])
        default: try communicator.nodeBarrier()
        }
      }
    } throws: { error in
      (error as? Failure)?.message.contains("every rank waits for another") == true
    }
  }

  /// Rank 1 publishes only after it has received; rank 0's send moves on while it waits.
  @Test func aWaitForACounterCallsWhatItIsGiven() throws {
    let calls = try withRanks(2) { communicator in
      let counters = try communicator.shareNodeCounters(count: 2)
      let room = FloatBuffer(count: 1)
      if communicator.rank == 1 {
        try communicator.exchange([.receive(into: room.view, from: 0)])
        try communicator.exchange([.send(room.view, to: 0)])
        counters.publish(1, 7)
        return 1
      }
      var calls = 0
      let pending = try communicator.start(
        [.send(room.view, to: 1), .receive(into: room.view, from: 1)], channel: 0)
      try counters.wait(1, of: 1, atLeast: 7) { () throws(Failure) in
        calls += 1
        _ = try pending.isDone()
      }
      try pending.wait()
      return calls
    }
    #expect(calls[0] >= 1)
  }

  @Test func aFailingRankReleasesWhoWaitsForItsCounter() {
    #expect(throws: Failure(.badData, "mine")) {
      try withRanks(3) { communicator in
        let counters = try communicator.shareNodeCounters(count: 1)
        if communicator.rank == 1 { throw Failure(.badData, "mine") }
        try counters.wait(0, of: 1, atLeast: 1)
      }
    }
  }

  @Test func aPendingMessageOfAnotherLengthIsAnError() {
    #expect {
      try withRanks(2) { communicator in
        let room = FloatBuffer(count: 4)
        let pending = try communicator.start(
          communicator.rank == 0
            ? [.send(room.view, to: 1)] : [.receive(into: room.view[0..<3], from: 0)], channel: 9)
        while !(try pending.isDone()) { try communicator.barrier() }
      }
    } throws: { error in
      (error as? Failure)?.message.contains("sent 4 floats where 3 were expected") == true
    }
  }

  @Test func aForgottenTransferIsAnError() {
    #expect {
      try withRanks(2) { communicator in
        let room = FloatBuffer(count: 1)
        _ = try communicator.start(
          [.receive(into: room.view, from: 1 - communicator.rank)], channel: 0)
        try communicator.finish()
      }
    } throws: { error in
      (error as? Failure)?.message.contains("never waited for") == true
    }
  }

  @Test func ranksThatAreThreadsSumInTheirOrder() throws {
    let values: [Float] = [1e8, 3, -1e8, 3]
    let sums = try withRanks(4) { communicator in
      let room = FloatBuffer(count: 1)
      room.view.fill(values[communicator.rank])
      try communicator.allReduceSum(room.view)
      return room.view.array
    }
    #expect(sums == Array(repeating: [((1e8 as Float + 3) - 1e8) + 3], count: 4))
  }
}
