import Core
import Messaging
import Tensors

/// Every operation of a communicator against what it has to give, in odd and empty lengths.
///
/// Collective. Throws: `Failure` with the first difference.
package func checkEveryOperation(of communicator: any Communicator) throws(Failure) {
  let checks = CommunicatorChecks(communicator: communicator)
  try checks.gathersBytes()
  try checks.gathersValues()
  try checks.broadcasts()
  try checks.agrees()
  try checks.exchangesWithEveryone()
  try checks.keepsTheOrderOfMessages()
  try checks.sumsInPlace()
  try checks.keepsChannelsApart()
  try checks.waitsInAnyOrder()
  try checks.sharesMemoryWithItsNode()
  try checks.countsForItsNode()
  try checks.meetsItsNode()
  try communicator.barrier()
}

struct CommunicatorChecks {
  let communicator: any Communicator
  var rank: Int { communicator.rank }
  var size: Int { communicator.size }

  func expect(_ condition: Bool, _ claim: String) throws(Failure) {
    guard condition else { throw Failure(.different, "rank \(rank) of \(size): \(claim)") }
  }

  /// Different for every sender, receiver, message and place.
  func value(_ from: Int, _ to: Int, _ message: Int, _ index: Int) -> Float {
    Float((from * 7 + to * 31 + message * 101 + index * 3) % 65_521)
  }

  func gathersBytes() throws(Failure) {
    for length in [0, 1, 2_503] {
      // Rank 0 of an uneven gather gives nothing.
      let lengths = (0..<size).map { $0 * length }
      let expected = (0..<size).map { from in
        (0..<lengths[from]).map { UInt8(truncatingIfNeeded: from * 13 + $0) }
      }
      let all = try communicator.allGather(bytes: expected[rank])
      try expect(all == expected, "gathered bytes differ at length \(length)")
    }
  }

  func gathersValues() throws(Failure) {
    let expected = (0..<size).map { from in (0...from).map { Double($0) / 3 + Double(from) } }
    let all = try communicator.allGather(expected[rank])
    try expect(all == expected, "gathered values differ")
    let notNumbers = try communicator.allGather([Double.nan, -0.0])
    try expect(
      notNumbers.allSatisfy { $0[0].isNaN && $0[1].sign == .minus }, "special values differ")
  }

  func broadcasts() throws(Failure) {
    for root in 0..<size {
      for length in [0, 1, 3_001] {
        let message = (0..<length).map { UInt8(truncatingIfNeeded: root + $0 * 5) }
        let own = rank == root ? message : [99]
        try expect(
          try communicator.broadcast(own, from: root) == message,
          "broadcast of \(length) bytes from rank \(root) differs")
      }
    }
  }

  func agrees() throws(Failure) {
    let all = try communicator.agree(1 << UInt64(rank) | 1 << 63)
    try expect(all == 1 << UInt64(size) - 1 | 1 << 63, "agreed flags differ")
    try expect(try communicator.agree(0) == 0, "flags nobody set")
  }

  /// Everyone to everyone, itself included; the length depends on both ends.
  func exchangesWithEveryone() throws(Failure) {
    func length(_ from: Int, _ to: Int) -> Int { (from * 3 + to) % 4 == 0 ? 0 : 997 * (from + to) }
    let longest = 997 * 2 * size
    let room = FloatBuffer(count: longest * size * 2)
    var transfers: [Transfer] = []
    for peer in 0..<size {
      let sent = room.view[longest * peer..<longest * peer + length(rank, peer)]
      for i in 0..<sent.count { sent.base[i] = value(rank, peer, 0, i) }
      let start = longest * (size + peer)
      transfers.append(.send(sent, to: peer))
      transfers.append(
        .receive(into: room.view[start..<start + length(peer, rank)], from: peer))
    }
    try communicator.exchange(transfers)
    for peer in 0..<size {
      let start = longest * (size + peer)
      let received = room.view[start..<start + length(peer, rank)].array
      try expect(
        received == received.indices.map { value(peer, rank, 0, $0) },
        "message from rank \(peer) differs")
    }
  }

  /// Five messages around a ring, received in front of the sends; lengths differ.
  func keepsTheOrderOfMessages() throws(Failure) {
    let lengths = [1, 2_100, 5, 0, 1_000]
    let total = lengths.reduce(0, +)
    let room = FloatBuffer(count: 2 * total)
    let next = (rank + 1) % size
    let previous = (rank + size - 1) % size
    var sends: [Transfer] = []
    var receives: [Transfer] = []
    var expected: [Float] = []
    for (message, length) in lengths.enumerated() {
      let sent = room.view[expected.count..<expected.count + length]
      for i in 0..<length { sent.base[i] = value(rank, next, message, i) }
      let start = total + expected.count
      sends.append(.send(sent, to: next))
      receives.append(.receive(into: room.view[start..<start + length], from: previous))
      expected += (0..<length).map { value(previous, rank, message, $0) }
    }
    try communicator.exchange(receives + sends)
    try expect(room.view[total..<2 * total].array == expected, "messages came out of order")
  }
}
