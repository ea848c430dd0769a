import Core
import Messaging
import MessagingProbe
import Synchronization
import Testing

@Suite struct CheckedCommunicatorTests {
  @Test func everyOperationGivesWhatItMust() throws {
    _ = try withRanks(4, nodes: [1, 3]) { communicator in
      try checkEveryOperation(of: CheckedCommunicator(communicator))
    }
  }

  @Test func everyRankLearnsWhoCallsWhat() throws {
    let failures = try withRanks(4) { communicator in
      let checked = CheckedCommunicator(communicator)
      do throws(Failure) {
        try checked.barrier()
        if communicator.rank == 2 {
          _ = try checked.broadcast([], from: 3)
        } else {
          _ = try checked.agree(0)
        }
        return nil as Failure?
      } catch {
        return error
      }
    }
    let expected = Failure(.outOfLockstep, "rank 2 calls broadcast from 3, rank 0 calls agree")
    #expect(failures == Array(repeating: expected, count: 4))
  }

  @Test func declaredOperationsAreCompared() {
    #expect(throws: Failure(.outOfLockstep, "rank 1 calls bucket 1, rank 0 calls bucket 0")) {
      try withRanks(2) { communicator in
        try CheckedCommunicator(communicator).declare("bucket \(communicator.rank)")
      }
    }
  }

  @Test func nodesOfOtherSizesShareOtherCounts() throws {
    _ = try withRanks(4, nodes: [3, 1]) { communicator in
      let routes = [
        NodeMailboxes.Route(sender: 0, receiver: 1, channel: 3),
        NodeMailboxes.Route(sender: 1, receiver: 2, channel: 3),
      ]
      _ = try NodeMailboxes(
        communicator.nodeRanks.count == 3 ? routes : [], slots: 2, capacity: 5,
        communicator: CheckedCommunicator(communicator))
    }
  }

  @Test func withoutChecksNotEvenTheTextIsMade() throws {
    let texts = Mutex(0)
    func text() -> String {
      texts.withLock { $0 += 1 }
      return "text"
    }
    for communicator in [SoloCommunicator()] as [any Communicator] {
      try communicator.declare(text())
      #expect(texts.withLock { $0 } == 0)
      try CheckedCommunicator(communicator).declare(text())
      #expect(texts.withLock { $0 } == 1)
    }
  }
}
