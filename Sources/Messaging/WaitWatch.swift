import Core
import Foundation
import Synchronization
import Tensors

/// What a rank waits for at the moment, and a thread that tells when it takes too long.
///
/// The rank stores a word before a wait and another after it, nothing more; the thread looks once a
/// second and hands out one line a stall.
package final class WaitWatch: Sendable {
  /// What a rank can wait in.
  package enum Operation: UInt8, CaseIterable, Sendable {
    case none, barrier, broadcast, allGather, agree, allReduceSum, nodeMemory, nodeBarrier
    case messages, gradientExchange
  }

  /// What a rank that looks around while it waits has found out.
  private struct Findings {
    var wait: UInt64 = 0
    var place = ""
    var missing: [Int] = []
  }

  private let rank: Int
  private let size: Int
  /// 0 or a `Wait`.
  private let current = Atomic<UInt64>(0)
  private let waitCount = Atomic<UInt64>(0)
  private let step = Atomic<Int>(0)
  private let findings = Mutex(Findings())
  private let board: Mutex<ArrivalBoard?> = Mutex(nil)
  private let clock = LookClock()

  package init(rank: Int, size: Int) {
    self.rank = rank
    self.size = size
  }

  // MARK: The rank

  /// The step that runs, for the line.
  package func setStep(_ step: Int) { self.step.store(step, ordering: .relaxed) }

  /// The rank begins to wait: for a rank, or for a bucket, or for whom it does not know.
  package func begin(_ operation: Operation, _ detail: Int? = nil) {
    let count = waitCount.load(ordering: .relaxed) &+ 1
    waitCount.store(count, ordering: .relaxed)
    current.store(
      Wait(count: count, operation: operation, detail: detail).word, ordering: .relaxed)
  }

  /// The rank waits no more.
  package func end() { current.store(0, ordering: .relaxed) }

  /// Where the wait that has begun stands; for waits that are long already.
  package func found(place: String, missing: [Int]) {
    let wait = current.load(ordering: .relaxed)
    findings.withLock { $0 = Findings(wait: wait, place: place, missing: missing) }
  }

  func setBoard(_ board: ArrivalBoard?) { self.board.withLock { $0 = board } }

  // MARK: The thread

  /// Starts the thread: whoever waits longer than the limit is reported, by a line a wait.
  ///
  /// Time in which the whole process was stopped does not count.
  /// Throws: `Failure(.internal)` when no thread can be started.
  package func start(
    limitSeconds: Int, report: @escaping @Sendable (_ line: String, _ step: Int) -> Void
  ) throws(Failure) {
    guard clock.start() else { return }
    do throws(Failure) {
      try ServiceThread.start("wait watch") { [self] in
        var detector = StallDetector(limit: limitSeconds)
        while clock.tick() {
          guard detector.look(current.load(ordering: .relaxed)) else { continue }
          if let line = line(seconds: limitSeconds) { report(line, step.load(ordering: .relaxed)) }
        }
        clock.confirmEnd()
      }
    } catch {
      clock.confirmEnd()
      throw error
    }
  }

  /// Returns when the thread is through; nothing of a job may be freed before.
  package func stop() { clock.stop() }

  /// What the rank waits for, in words; nothing if it has just gone on.
  package func line(seconds: Int) -> String? {
    let word = current.load(ordering: .relaxed)
    guard let wait = Wait(word: word) else { return nil }
    var found = findings.withLock { $0 }
    if found.wait != word { found = Findings() }
    let place = found.place.isEmpty ? "" : " (\(found.place))"
    return "rank \(rank), step \(step.load(ordering: .relaxed)): has waited \(seconds) s for"
      + " \(wait.operation.text)\(place): \(late(wait, found.missing))"
  }

  private func late(_ wait: Wait, _ missing: [Int]) -> String {
    if !missing.isEmpty {
      return Self.naming(missing)
    }
    if [.messages, .nodeBarrier].contains(wait.operation), let peer = wait.detail {
      return Self.naming([peer])
    }
    guard wait.operation.isCollective, let board = board.withLock({ $0 }) else {
      return "who is late is not known"
    }
    let others = size - board.ranks.count
    let late = board.late(behind: rank)
    if !late.isEmpty { return Self.naming(late) }
    return others > 0
      ? "all ranks of this computer have arrived, not all \(others) of the others"
      : "all ranks have arrived"
  }

  private static func naming(_ ranks: [Int]) -> String {
    let list = ranks.map(String.init).joined(separator: ", ")
    return ranks.count == 1 ? "rank \(list) has not arrived" : "ranks \(list) have not arrived"
  }
}

extension WaitWatch.Operation {
  fileprivate var text: String {
    switch self {
    case .none: "nothing"
    case .barrier: "a barrier"
    case .broadcast: "a broadcast"
    case .allGather: "values of all ranks"
    case .agree: "the agreement of all ranks"
    case .allReduceSum: "a sum over all ranks"
    case .nodeMemory: "memory shared by the node"
    case .nodeBarrier: "a barrier of the node"
    case .messages: "messages"
    case .gradientExchange: "the gradient exchange"
    }
  }

  /// Every rank comes to it, in the same order.
  fileprivate var isCollective: Bool {
    ![.none, .nodeMemory, .nodeBarrier, .messages, .gradientExchange].contains(self)
  }
}

/// A wait in one word: its number in the process, whom it is for and in what operation.
private struct Wait {
  let operation: WaitWatch.Operation
  let detail: Int?
  let word: UInt64

  init(count: UInt64, operation: WaitWatch.Operation, detail: Int?) {
    self.operation = operation
    self.detail = detail
    let low = UInt64(UInt32(truncatingIfNeeded: (detail ?? -1) + 1))
    // Waits of equal words are 2^24 waits apart: no thread takes them for one.
    word = count << 40 | low << 8 | UInt64(operation.rawValue)
  }

  init?(word: UInt64) {
    guard let operation = WaitWatch.Operation(rawValue: UInt8(truncatingIfNeeded: word)),
      operation != .none
    else { return nil }
    self.operation = operation
    let low = Int(UInt32(truncatingIfNeeded: word >> 8))
    detail = low == 0 ? nil : low - 1
    self.word = word
  }
}

/// Finds out that a word has not changed for some looks.
package struct StallDetector {
  private let limit: Int
  private var word: UInt64 = 0
  private var looks = 0

  /// - Parameter limit: looks, one a second.
  package init(limit: Int) { self.limit = limit }

  /// True once for every word other than 0 that stays.
  package mutating func look(_ word: UInt64) -> Bool {
    looks = word == self.word ? looks + 1 : 0
    self.word = word
    return word != 0 && looks == limit
  }
}

/// How many collective operations each rank of this computer has come to, in memory they share.
struct ArrivalBoard: Sendable {
  /// A cache line, so that nobody's counting slows another's.
  static let floatsEach = 16

  private let memory: NodeMemory
  let ranks: [Int]

  /// Precondition: every part of the memory has `floatsEach` floats.
  init(memory: NodeMemory, ranks: [Int]) {
    self.memory = memory
    self.ranks = ranks
  }

  /// A rank comes to its next operation. Only its own thread calls this.
  func arrive(_ rank: Int) {
    let counter = counter(of: rank)
    counter.pointee.store(counter.pointee.load(ordering: .relaxed) + 1, ordering: .relaxed)
  }

  /// The ranks that have come to fewer operations.
  func late(behind rank: Int) -> [Int] {
    let own = counter(of: rank).pointee.load(ordering: .relaxed)
    return ranks.filter { counter(of: $0).pointee.load(ordering: .relaxed) < own }
  }

  private func counter(of rank: Int) -> UnsafeMutablePointer<Atomic<Int>> {
    // Zeroed memory is a counter at 0, and nothing else ever reads it as floats.
    UnsafeMutableRawPointer(memory.vector(of: rank).base).assumingMemoryBound(to: Atomic<Int>.self)
  }
}

/// A thread's beat of a second that another thread can end.
///
/// Unchecked: every access to the stored properties happens under the condition's lock.
private final class LookClock: @unchecked Sendable {
  private let changed = NSCondition()
  private var isRunning = false
  private var isEnding = false

  /// False when it runs already.
  func start() -> Bool {
    changed.lock()
    defer { changed.unlock() }
    if isRunning { return false }
    isRunning = true
    isEnding = false
    return true
  }

  /// Waits a second; false when it is to end.
  func tick() -> Bool {
    changed.lock()
    defer { changed.unlock() }
    let deadline = Date.now.addingTimeInterval(1)
    while !isEnding, changed.wait(until: deadline) {}
    return !isEnding
  }

  func confirmEnd() {
    changed.lock()
    defer { changed.unlock() }
    isRunning = false
    changed.broadcast()
  }

  func stop() {
    changed.lock()
    defer { changed.unlock() }
    isEnding = true
    changed.broadcast()
    while isRunning { changed.wait() }
  }
}
