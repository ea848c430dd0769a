import Core
import Messaging
import Optimizers
import Parallelism
import Tensors
import Testing

@Suite(.timeLimit(.minutes(2))) struct MomentTransferTests {
  private static func number(_ index: Int, _ moment: ShardedOptimizer.Moment) -> Float {
    Float(index * 2 + (moment == .first ? 0 : 1))
  }

  private static func optimizer(
    _ communicator: any Communicator, count: Int
  ) throws(Failure) -> ShardedOptimizer {
    let optimizer = ShardedOptimizer(
      communicator: communicator,
      ownership: OwnershipMap(parameterCount: count, ranks: communicator.size), adam: Adam())
    for moment in ShardedOptimizer.Moment.allCases {
      try optimizer.setMoment(moment) { (range, target) throws(Failure) in
        for (place, index) in range.enumerated() {
          target.base[place] = number(index, moment)
        }
      }
    }
    return optimizer
  }

  @Test(arguments: [1, 2, 3, 5]) func anyRangeCanBeRead(ranks: Int) throws {
    let ranges = [0..<0, 0..<1, 16_380..<16_390, 5..<50_001, 49_999..<50_001]
    let seen = try withRanks(ranks) { communicator in
      let optimizer = try Self.optimizer(communicator, count: 50_001)
      return try ranges.map { range in
        let room = FloatBuffer(count: range.count)
        try optimizer.readMoment(
          .second, range, into: communicator.rank == 0 ? room.view : nil)
        return room.view.array
      }
    }
    #expect(seen[0] == ranges.map { $0.map { Self.number($0, .second) } })
  }
}
