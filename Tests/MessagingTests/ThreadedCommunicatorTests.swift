import Core
import Messaging
import MessagingProbe
import Tensors
import Testing

@Suite struct ThreadedCommunicatorTests {
  @Test(arguments: [1, 2, 3, 5, 8]) func everyOperationGivesWhatItMust(ranks: Int) throws {
    let seen = try withRanks(ranks) { communicator in
      try checkEveryOperation(of: communicator)
      return communicator.rank
    }
    #expect(seen == Array(0..<ranks))
  }

  @Test(arguments: [[2, 1, 1], [1, 3], [1, 1, 1], [2, 3, 2]])
  func nodesChangeNothing(layout: [Int]) throws {
    let ranks = layout.reduce(0, +)
    let nodes = try withRanks(ranks, nodes: layout) { communicator in
      try checkEveryOperation(of: communicator)
      return communicator.nodeRanks
    }
    #expect(nodes.map(\.count) == layout.flatMap { Array(repeating: $0, count: $0) })
    #expect(nodes.allSatisfy { $0 == Array($0[0]..<$0[0] + $0.count) })
  }

  @Test func everyRankCanBeANodeOfItsOwn() throws {
    let nodes = try withRanks(3) { communicator in
      communicator.separateNodes()
      try checkEveryOperation(of: communicator)
      return communicator.nodes
    }
    #expect(nodes == Array(repeating: NodeTopology(nodeOfRank: [0, 1, 2]), count: 3))
  }

  @Test func nodesAreNumberedByTheirLowestRank() {
    let nodes = NodeTopology(nodeOfRank: [0, 1, 0, 2, 1])
    #expect(nodes.count == 3)
    #expect((0..<3).map(nodes.ranks(of:)) == [[0, 2], [1, 4], [3]])
  }

  @Test func aRankAloneGivesWhatItMust() throws {
    try checkEveryOperation(of: SoloCommunicator())
  }

  @Test func theFirstErrorIsRethrownAndReleasesTheOthers() {
    #expect(throws: Failure(.badData, "mine")) {
      try withRanks(3) { communicator in
        if communicator.rank == 1 { throw Failure(.badData, "mine") }
        try communicator.barrier()
      }
    }
  }

  @Test func abortEndsTheJobWithItsCode() throws {
    let codes = try withRanks(3) { communicator in
      if communicator.rank == 2 { communicator.abort(.diverged) }
      do throws(Failure) {
        try communicator.barrier()
        return ExitCode.success
      } catch {
        return error.exitCode
      }
    }
    #expect(codes == [.diverged, .diverged, .diverged])
  }

  @Test func ranksThatWaitForEachOtherAreToldSo() {
    #expect {
      try withRanks(2) { communicator in
        let room = FloatBuffer(count: 1)
        try communicator.exchange([.receive(into: room.view, from: 1 - communicator.rank)])
      }
    } throws: { error in
      (error as? Failure)?.message.contains("every rank waits for another") == true
    }
  }

  @Test func aRankThatLeftIsNotWaitedFor() {
    #expect(throws: Failure.self) {
      try withRanks(3) { communicator in
        if communicator.rank > 0 { try communicator.barrier() }
      }
    }
  }

  @Test func differentOperationsAreAnError() {
    #expect(throws: Failure.self) {
      try withRanks(2) { communicator in
        if communicator.rank == 0 {
          try communicator.barrier()
        } else {
          _ = try communicator.agree(1)
        }
      }
    }
  }

  @Test func lengthsThatDifferAreAnError() {
    #expect(throws: Failure.self) {
      try withRanks(2) { communicator in
        let room = FloatBuffer(count: 4)
        try communicator.exchange(
          communicator.rank == 0
            ? [.send(room.view, to: 1)] : [.receive(into: room.view[0..<3], from: 0)])
      }
    }
  }

  /// Rank 0 lists first what arrives last; what is there already must still be taken.
  @Test func theOrderOfAListCannotDeadlock() throws {
    let sums = try withRanks(3) { communicator in
      let room = FloatBuffer(count: 2)
      let one = room.view[0..<1]
      let two = room.view[1..<2]
      switch communicator.rank {
      case 0:
        try communicator.exchange([.receive(into: one, from: 2), .receive(into: two, from: 1)])
      case 1:
        one.fill(3)
        try communicator.exchange([.send(one, to: 0)])
        try communicator.exchange([.send(one, to: 2)])
      default:
        try communicator.exchange([.receive(into: one, from: 1)])
        try communicator.exchange([.send(one, to: 0)])
      }
      return room.view.array.reduce(0, +)
    }
    #expect(sums == [6, 3, 3])
  }
}
