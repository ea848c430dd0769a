import Core
import Foundation
import Messaging
import Tensors

extension CommunicatorChecks {
  /// Sums of whole numbers are exact in any order.
  func sumsInPlace() throws(Failure) {
    for count in [0, 1, 2_503] {
      let room = FloatBuffer(count: count)
      for i in 0..<count { room.view.base[i] = value(rank, 0, 1, i) }
      try communicator.allReduceSum(room.view)
      let expected = (0..<count).map { index in
        (0..<size).reduce(Float(0)) { $0 + value($1, 0, 1, index) }
      }
      try expect(room.view.array == expected, "the sum of \(count) floats differs")
    }
  }

  /// Messages of three channels around a ring; the receives are started in another order.
  func keepsChannelsApart() throws(Failure) {
    let lengths: [(channel: Int, count: Int)] = [(7, 2_003), (0, 1), (32_767, 40)]
    let total = lengths.reduce(0) { $0 + $1.count }
    let room = FloatBuffer(count: 2 * total)
    let next = (rank + 1) % size
    let previous = (rank + size - 1) % size
    guard next != rank else { return }
    var pending: [any PendingTransfers] = []
    var begin = 0
    for (channel, count) in lengths {
      let sent = room.view[begin..<begin + count]
      for i in 0..<count { sent.base[i] = value(rank, next, channel, i) }
      pending.append(try communicator.start([.send(sent, to: next)], channel: channel))
      begin += count
    }
    var end = 2 * total
    var expected: [Float] = []
    for (channel, count) in lengths.reversed() {
      let received = room.view[end - count..<end]
      pending.append(
        try communicator.start([.receive(into: received, from: previous)], channel: channel))
      end -= count
      expected = (0..<count).map { value(previous, rank, channel, $0) } + expected
    }
    for transfers in pending { try transfers.wait() }
    try expect(room.view[total..<2 * total].array == expected, "channels got mixed up")
    for transfers in pending { try expect(try transfers.isDone(), "what was waited for is done") }
  }

  /// Receives on one channel match in the order they were started, whichever is waited for first,
  /// and asking is enough to complete them.
  func waitsInAnyOrder() throws(Failure) {
    let peer = size - 1 - rank
    guard peer != rank else { return }
    let count = 1_501
    let room = FloatBuffer(count: 4 * count)
    let parts = (0..<4).map { room.view[$0 * count..<($0 + 1) * count] }
    for message in 0..<2 {
      for i in 0..<count { parts[message].base[i] = value(rank, peer, message, i) }
    }
    let first = try communicator.start([.receive(into: parts[2], from: peer)], channel: 3)
    let second = try communicator.start([.receive(into: parts[3], from: peer)], channel: 3)
    let sends = try communicator.start(
      [.send(parts[0], to: peer), .send(parts[1], to: peer)], channel: 3)
    try second.wait()
    while !(try first.isDone()) { sched_yield() }
    try sends.wait()
    for message in 0..<2 {
      let expected = (0..<count).map { value(peer, rank, message, $0) }
      try expect(parts[2 + message].array == expected, "message \(message) of two differs")
    }
  }

  /// Every rank writes its own part and reads the others'.
  func sharesMemoryWithItsNode() throws(Failure) {
    let ranks = communicator.nodeRanks
    try expect(ranks.contains(rank), "a rank shares its own memory")
    for unit in [0, 1, 2_503] {
      let memory = try communicator.shareNodeMemory(count: unit * rank, "part \(unit)")
      for other in ranks {
        let part = memory.vector(of: other)
        try expect(part.count == unit * other, "the part of rank \(other) has another count")
        try expect(part.array.allSatisfy { $0 == 0 }, "new memory is zero")
        let isAligned = Int(bitPattern: part.base) % Int(sysconf(Int32(_SC_PAGESIZE))) == 0
        try expect(part.count == 0 || isAligned, "a part begins with a page")
      }
      try communicator.nodeBarrier()
      let own = memory.vector(of: rank)
      for i in 0..<own.count { own.base[i] = value(rank, 0, unit, i) }
      try communicator.nodeBarrier()
      for other in ranks {
        let expected = (0..<unit * other).map { value(other, 0, unit, $0) }
        try expect(memory.vector(of: other).array == expected, "part of rank \(other) differs")
      }
    }
  }

  /// A relay: a rank adds to what its predecessor in the node wrote once that is published.
  func countsForItsNode() throws(Failure) {
    let ranks = communicator.nodeRanks
    let memory = try communicator.shareNodeMemory(count: 100, "relay")
    let counters = try communicator.shareNodeCounters(count: 3)
    guard let place = ranks.firstIndex(of: rank) else { return }
    let previous = ranks[(place + ranks.count - 1) % ranks.count]
    for round in 1...20 {
      let index = round % 3
      if place > 0 {
        try counters.wait(index, of: previous, atLeast: round)
      } else if round > 1 {
        try counters.wait((round - 1) % 3, of: previous, atLeast: round - 1)
      }
      let own = memory.vector(of: rank)
      let isFirst = place == 0 && round == 1
      let before = isFirst ? 0 : memory.vector(of: previous).base[(round * 7) % 100]
      try expect(before == Float((round - 1) * ranks.count + place), "round \(round) differs")
      // The successor reads the slot of its own round: the first rank's is the next round's.
      let slot = place == ranks.count - 1 ? ((round + 1) * 7) % 100 : (round * 7) % 100
      own.base[slot] = before + 1
      counters.publish(index, round)
    }
    try communicator.nodeBarrier()
    for other in ranks {
      try expect(counters.value(2, of: other) == 20, "the last value of rank \(other)")
    }
  }

  func meetsItsNode() throws(Failure) {
    let ranks = communicator.nodeRanks
    let memory = try communicator.shareNodeMemory(count: 1, "meeting")
    let own = memory.vector(of: rank)
    for round in 1...40 {
      own.base[0] = Float(round)
      try communicator.nodeBarrier()
      for other in ranks {
        try expect(memory.vector(of: other).base[0] == Float(round), "somebody came too early")
      }
      try communicator.nodeBarrier()
    }
  }
}
