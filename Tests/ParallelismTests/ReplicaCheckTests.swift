import Core
import Layers
import Messaging
import Parallelism
import Tensors
import Testing

@Suite struct ReplicaCheckTests {
  /// Two blocks and a large embedding, which takes several digests.
  private static let layout: ParameterLayout = {
    var layout = ParameterLayout()
    layout.beginSection("block 0")
    layout.append("a", [5], .constant(0))
    layout.append("b", [3, 7], .constant(0))
    layout.beginSection("block 1")
    layout.append("c", [11], .constant(0))
    layout.beginSection("embedding")
    layout.append("e", [(1 << 20) + 3], .constant(0))
    return layout
  }()

  private struct Change: Sendable {
    let rank: Int
    let index: Int
  }

  /// What every rank hears when some weights change; nothing when all is well.
  private func hear(
    _ changes: [Change], nodes: [Int], stages: Int = 1, owned: [Int: [Range<Int>]] = [:]
  ) throws -> [String] {
    let heard = try withRanks(nodes.reduce(0, +), nodes: nodes) { communicator -> String in
      let leads = communicator.nodeRanks[0] == communicator.rank
      let weights = try communicator.shareNodeMemory(
        count: leads ? Self.layout.count : 0, "weights"
      ).vector(of: communicator.nodeRanks[0])
      if leads { for i in 0..<weights.count { weights.base[i] = Float(i) } }
      try communicator.nodeBarrier()
      let check = ReplicaCheck(
        communicator: communicator, layout: Self.layout,
        usersOfSection: stages == 1 ? [[0], [0], [0]] : [[0], [1], [0, 1]],
        stageOfRank: (0..<communicator.size).map { $0 % stages },
        ownedSpans: owned[communicator.rank] ?? [])
      check.remember(weights)
      try communicator.barrier()
      for change in changes where change.rank == communicator.rank {
        weights.base[change.index] = -1
      }
      try communicator.barrier()
      do throws(Failure) {
        try check.compare(weights, step: 7)
      } catch {
        #expect(error.exitCode == .outOfLockstep)
        return error.message
      }
      return ""
    }
    #expect(Set(heard).count == 1, "every rank throws the same: \(heard)")
    return heard
  }

  @Test(arguments: [[1], [3], [1, 1, 1], [2, 1], [2, 3]]) func equalCopiesAreFine(nodes: [Int])
    throws
  {
    let owned = [0: [2..<20], 1: [20..<Self.layout.count]]
    #expect(try hear([], nodes: nodes, owned: owned)[0] == "")
  }

  /// Every tensor, its first and its last weight, the seam between two digests.
  @Test(arguments: [
    (0, "a"), (4, "a"), (5, "b"), (25, "b"), (26, "c"), (36, "c"), (37, "e"),
    (37 + (1 << 20) - 1, "e"), (37 + (1 << 20), "e"), (37 + (1 << 20) + 2, "e"),
  ])
  func theOddCopyIsNamedWithItsTensor(index: Int, tensor: String) throws {
    let one = try hear([Change(rank: 2, index: index)], nodes: [1, 1, 1])[0]
    #expect(one.hasPrefix("step 7: the copies of the weights differ: that of rank 2 from the 2"))
    #expect(one.contains("first in tensor \(tensor);"))
    let node = try hear([Change(rank: 1, index: index)], nodes: [2, 1, 1])[0]
    #expect(node.contains("that of ranks 0, 1 from the 2 others, first in tensor \(tensor);"))
    let two = try hear([Change(rank: 0, index: index)], nodes: [1, 2])[0]
    #expect(two.contains("those of rank 0 and of ranks 1, 2, none of which is a majority"))
    #expect(two.contains("first in tensor \(tensor);"))
  }

  @Test func anOwnerFindsWhatItDidNotWrite() throws {
    let owned = [0: [0..<8, 30..<40], 1: [8..<30, 40..<Self.layout.count]]
    // In one copy for all, whoever changed it: the owner finds it.
    let shared = try hear([Change(rank: 0, index: 27)], nodes: [2], owned: owned)[0]
    #expect(shared.contains("found by rank 1, first in tensor c;"), "\(shared)")
    let both = try hear(
      [Change(rank: 0, index: 39), Change(rank: 1, index: 10)], nodes: [2], owned: owned)[0]
    #expect(both.contains("found by ranks 0, 1, first in tensor e;"), "\(both)")
  }

  @Test func stagesThatAreNotThereAreNotCompared() throws {
    // Each rank a node, replica 0 = ranks 0 and 1: block 1 of rank 0 is nobody's.
    #expect(
      try hear([Change(rank: 0, index: 30)], nodes: [1, 1, 1, 1], stages: 2)[0] == "")
    let own = try hear([Change(rank: 3, index: 30)], nodes: [1, 1, 1, 1], stages: 2)[0]
    #expect(own.contains("those of rank 1 and of rank 3, none"), "\(own)")
    // The embedding is on all four.
    let shared = try hear([Change(rank: 3, index: 50)], nodes: [1, 1, 1, 1], stages: 2)[0]
    #expect(shared.contains("that of rank 3 from the 3 others, first in tensor e"), "\(shared)")
  }
}
