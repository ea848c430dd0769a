import Core
import Foundation
import Synchronization

/// Numbers in node memory that only grow: each rank publishes its own and waits for the others'.
///
/// What a rank wrote to node memory before it published a value is visible to whoever has seen that
/// value. No messages, no system calls unless a wait is long.
package final class NodeCounters {
  private let memory: NodeMemory
  private let rank: Int
  private let count: Int
  /// Where ranks are threads, so that they notice each other's end and deadlocks.
  private let group: RankGroup?

  /// Floats a counter takes: a cache line of its own, so that waiting for one does not slow the
  /// writes to another.
  static let floatsEach = 16
  /// Looks at a counter before others are let run: the ranks may be more than the cores.
  private static let looksBeforeYielding = 2_000

  /// Precondition: every part of the memory has `count * floatsEach` floats.
  init(memory: NodeMemory, rank: Int, count: Int, group: RankGroup? = nil) {
    self.memory = memory
    self.rank = rank
    self.count = count
    self.group = group
  }

  /// Sets a counter of this rank; values never fall.
  package func publish(_ index: Int, _ value: Int) {
    let counter = counter(index, of: rank)
    precondition(value >= counter.pointee.load(ordering: .relaxed), "a counter never falls")
    counter.pointee.store(value, ordering: .releasing)
    group?.announce()
  }

  package func value(_ index: Int, of rank: Int) -> Int {
    counter(index, of: rank).pointee.load(ordering: .acquiring)
  }

  /// Returns when the counter is at least `target`; calls `whileWaiting` again and again until
  /// then, so that the caller's own transfers move on.
  package func wait(
    _ index: Int, of rank: Int, atLeast target: Int,
    whileWaiting: () throws(Failure) -> Void = { () throws(Failure) in }
  ) throws(Failure) {
    let counter = counter(index, of: rank)
    if let group {
      try group.wait(self.rank, "wait for counter \(index) of rank \(rank)", whileWaiting) {
        counter.pointee.load(ordering: .acquiring) >= target
      }
      return
    }
    while true {
      for _ in 0..<Self.looksBeforeYielding
      where counter.pointee.load(ordering: .acquiring) >= target {
        return
      }
      try whileWaiting()
      sched_yield()
    }
  }

  private func counter(_ index: Int, of rank: Int) -> UnsafeMutablePointer<Atomic<Int>> {
    precondition(0..<count ~= index, "counter \(index) does not exist")
    let vector = memory.vector(of: rank)
    precondition(vector.count == count * Self.floatsEach, "ranks share equal counts of counters")
    // Zeroed memory is a counter at 0, and nothing else ever reads it as floats.
    return UnsafeMutableRawPointer(vector.base + index * Self.floatsEach)
      .assumingMemoryBound(to: Atomic<Int>.self)
  }
}

extension Communicator {
  /// Node memory in the form of counters.
  func makeNodeCounters(count: Int, group: RankGroup? = nil) throws(Failure) -> NodeCounters {
    precondition(count > 0, "at least one counter")
    let memory = try shareNodeMemory(count: count * NodeCounters.floatsEach, "counters")
    return NodeCounters(memory: memory, rank: rank, count: count, group: group)
  }
}
