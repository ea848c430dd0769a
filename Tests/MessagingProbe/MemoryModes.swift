import Core
import Foundation
import Messaging
import Tensors

extension MessagingProbe {
  /// Pages nobody touches take no memory; a page that one rank touches is there once.
  static func checkUntouchedMemory(_ communicator: any Communicator) throws(Failure) {
    let count = 16 << 20
    let memory = try communicator.shareNodeMemory(count: count, "sparse memory")
    let own = memory.vector(of: communicator.rank)
    let before = try residentPages(of: own)
    guard before == 0 else {
      throw Failure(.different, "\(before) pages are resident before anybody touches them")
    }
    try communicator.nodeBarrier()
    own.base[0] = 1
    own.base[count - 1] = 2
    try communicator.nodeBarrier()
    for other in communicator.nodeRanks {
      let part = memory.vector(of: other)
      guard part.base[0] == 1, part.base[count - 1] == 2 else {
        throw Failure(.different, "rank \(communicator.rank) sees other numbers")
      }
    }
    let after = try residentPages(of: own)
    guard after <= 2 + communicator.nodeRanks.count else {
      throw Failure(.different, "\(after) pages are resident, 2 were written")
    }
    say("rank \(communicator.rank) is fine")
  }

  /// Shares three fifths of what is free, twice: the second time nothing is written yet.
  static func shareTooMuch(_ communicator: any Communicator) throws(Failure) {
    var statistics = statvfs()
    guard statvfs("/dev/shm", &statistics) == 0 else {
      throw Failure(.internal, "cannot look at /dev/shm")
    }
    let free = Int(statistics.f_bavail) * Int(statistics.f_frsize)
    let own = free / 4 * 3 / 5 / communicator.nodeRanks.count
    let counts = try communicator.allGather([Double(own)])
    let count = Int(counts[0][0])
    for purpose in ["the first", "the second"] {
      do throws(Failure) {
        _ = try communicator.shareNodeMemory(count: count, purpose)
      } catch {
        say("rank \(communicator.rank): \(error.message)")
        try communicator.barrier()
        throw error
      }
    }
  }

  private static func residentPages(of vector: Vector) throws(Failure) -> Int {
    let page = Int(sysconf(Int32(_SC_PAGESIZE)))
    var flags = [UInt8](repeating: 0, count: (vector.count * 4 + page - 1) / page)
    guard mincore(vector.base, vector.count * 4, &flags) == 0 else {
      throw Failure(.internal, "mincore: error \(errno)")
    }
    return flags.count { $0 & 1 == 1 }
  }

  static func sumFor(seconds text: String?, _ communicator: any Communicator) throws(Failure) {
    guard let seconds = text.flatMap(Double.init) else {
      throw Failure(.usage, "MessagingProbe: how many seconds?")
    }
    let room = FloatBuffer(count: 1 << 16)
    let stopwatch = ContinuousClock.now
    var rounds = 0
    while try communicator.agree(
      stopwatch.duration(to: .now) >= .seconds(seconds) ? 1 : 0) == 0
    {
      try communicator.allReduceSum(room.view)
      rounds += 1
    }
    if communicator.rank == 0 { say("\(rounds) sums") }
  }

  /// Prints microseconds a call, the mean of many.
  static func measure(_ communicator: any Communicator) throws(Failure) {
    let counters = try communicator.shareNodeCounters(count: 1)
    let ranks = communicator.nodeRanks
    let place = ranks.firstIndex(of: communicator.rank) ?? 0
    let previous = ranks[(place + ranks.count - 1) % ranks.count]
    var token = 0
    try time("barrier", communicator) { () throws(Failure) in try communicator.barrier() }
    try time("nodeBarrier", communicator) { () throws(Failure) in try communicator.nodeBarrier() }
    try time("counter passed once round the node", communicator) { () throws(Failure) in
      token += 1
      if place > 0 { try counters.wait(0, of: previous, atLeast: token) }
      counters.publish(0, token)
      if place == 0 { try counters.wait(0, of: previous, atLeast: token) }
    }
    try time("counter nobody waits for", communicator) { () throws(Failure) in
      token += 1
      counters.publish(0, token)
    }
  }

  private static func time(
    _ title: String, _ communicator: any Communicator, _ body: () throws(Failure) -> Void
  ) throws(Failure) {
    let count = 5_000
    try body()
    try communicator.barrier()
    let start = ContinuousClock.now
    for _ in 0..<count { try body() }
    let microseconds = start.duration(to: .now) / .microseconds(1) / Double(count)
    if communicator.rank == 0 {
      say(title + ": " + String(format: "%.3f", microseconds) + " microseconds")
    }
    try communicator.barrier()
  }
}
