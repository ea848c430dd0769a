import Core
import Foundation
import Synchronization

/// Who prepares a dataset together: the threads of this process and, on other ranks, those of
/// processes that see the same folder.
///
/// All ranks run the same stages in the same order. A stage is a list of independent tasks; what
/// they return is known to every rank when it ends, so that what follows is the same everywhere,
/// whoever did which.
package final class Team {
  package let rank: Int
  package let size: Int
  /// Threads of this process.
  package let jobs: Int
  /// Every rank's bytes by rank; returns when all have called it.
  private let gather: ([UInt8]) throws(Failure) -> [[UInt8]]
  /// The failure that all ranks have heard of; one of them is to say it.
  package private(set) var sharedFailure: Failure?

  /// The processors this process may use.
  package static var defaultJobs: Int { max(1, ProcessInfo.processInfo.activeProcessorCount) }

  /// Threads alone.
  package init(jobs: Int = defaultJobs) {
    self.rank = 0
    self.size = 1
    self.jobs = jobs
    gather = { [$0] }
  }

  /// One of several ranks; `gather` gives every rank's bytes to all.
  package init(
    rank: Int, size: Int, jobs: Int, gather: @escaping ([UInt8]) throws(Failure) -> [[UInt8]]
  ) {
    precondition(jobs > 0 && 0..<size ~= rank, "a team has members")
    self.rank = rank
    self.size = size
    self.jobs = jobs
    self.gather = gather
  }

  /// What the tasks of a stage return, in their order.
  ///
  /// Tasks are taken in order, task i by rank i modulo ranks. After the first that fails no later
  /// one begins, so the failure of the lowest number is found whoever works.
  ///
  /// - Parameters:
  ///   - threads: at most so many of a process at a time.
  ///   - body: is told the task and which thread of this process runs it.
  /// Collective. Throws: the failure of the first task that has one, on every rank.
  func run<Result: Codable & Sendable>(
    _ progress: StageProgress, threads: Int = .max,
    _ body: @escaping @Sendable (_ task: Int, _ thread: Int) throws(Failure) -> Result
  ) throws(Failure) -> [Result] {
    let own = Array(stride(from: rank, to: progress.weights.count, by: size))
    let work = StageWork(tasks: own, weights: progress.weights, body: body)
    let threadCount = min(threads, jobs, own.count)
    var started = 0
    for thread in 0..<threadCount {
      do throws(Failure) {
        try ServiceThread.start("prepare") { work.work(thread: thread) }
        started += 1
      } catch {
        // Fewer do it as well.
        guard started > 0 else { throw error }
        break
      }
    }
    let watch = Stopwatch()
    while !work.wait(threads: started, seconds: StageProgress.secondsBetweenLines) {
      progress.tell(done: work.doneWeight, of: own, seconds: watch.seconds)
    }
    let results = try share(work.outcome)
    progress.tellEnd(seconds: watch.seconds)
    return results
  }

  /// What the first rank alone does, for all.
  ///
  /// Collective. Throws: its failure, on every rank.
  package func onFirst<Result: Codable & Sendable>(
    _ body: (_ alone: Team) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    guard size > 1 else { return try body(self) }
    var outcome = StageOutcome<Result>()
    if rank == 0 {
      do throws(Failure) {
        outcome.results[0] = try body(Team(jobs: jobs))
      } catch {
        outcome.failure = StageOutcome.TaskFailure(0, error)
      }
    }
    return try share(outcome)[0]
  }

  /// What each rank does for itself; by rank.
  ///
  /// Collective. Returns when every rank has done it. Throws: the first failure, on every rank.
  package func onEvery<Result: Codable & Sendable>(
    _ body: () throws(Failure) -> Result
  ) throws(Failure) -> [Result] {
    var outcome = StageOutcome<Result>()
    do throws(Failure) {
      outcome.results[rank] = try body()
    } catch {
      outcome.failure = StageOutcome.TaskFailure(rank, error)
    }
    return try share(outcome)
  }

  /// Every rank's results put together.
  private func share<Result: Codable & Sendable>(
    _ own: StageOutcome<Result>
  ) throws(Failure) -> [Result] {
    var all = own
    if size > 1 {
      for bytes in try gather(try own.encoded()) { all.merge(try StageOutcome(decoding: bytes)) }
    }
    if let failure = all.failure {
      sharedFailure = failure.failure
      throw failure.failure
    }
    return all.results.sorted { $0.key < $1.key }.map(\.value)
  }
}

/// What became of some tasks of a stage.
struct StageOutcome<Result: Codable & Sendable>: Codable, Sendable {
  /// By task.
  var results: [Int: Result] = [:]
  /// Of the lowest task that failed.
  var failure: TaskFailure?

  struct TaskFailure: Codable, Sendable {
    var task: Int
    var exitCode: Int32
    var message: String

    init(_ task: Int, _ failure: Failure) {
      self.task = task
      exitCode = failure.exitCode.rawValue
      message = failure.message
    }

    var failure: Failure { Failure(ExitCode(rawValue: exitCode) ?? .internal, message) }
  }

  mutating func merge(_ other: StageOutcome) {
    results.merge(other.results) { $1 }
    if let theirs = other.failure, theirs.task < failure?.task ?? .max { failure = theirs }
  }

  func encoded() throws(Failure) -> [UInt8] {
    guard let data = try? JSONEncoder().encode(self) else {
      throw Failure(.internal, "what a stage of the preparation found cannot be sent")
    }
    return Array(data)
  }

  init() {}

  init(decoding bytes: [UInt8]) throws(Failure) {
    guard let found = try? JSONDecoder().decode(StageOutcome.self, from: Data(bytes)) else {
      throw Failure(.internal, "what another rank sent of its preparation cannot be read")
    }
    self = found
  }
}

/// The tasks of one process in a stage, from which its threads help themselves.
private final class StageWork<Result: Codable & Sendable>: Sendable {
  private struct State {
    var next = 0
    var finishedThreads = 0
    var doneWeight = 0
    var outcome = StageOutcome<Result>()
  }

  private let tasks: [Int]
  private let weights: [Int]
  private let body: @Sendable (Int, Int) throws(Failure) -> Result
  private let state = Mutex(State())
  private let threadEnd = DispatchSemaphore(value: 0)

  init(
    tasks: [Int], weights: [Int],
    body: @escaping @Sendable (Int, Int) throws(Failure) -> Result
  ) {
    self.tasks = tasks
    self.weights = weights
    self.body = body
  }

  func work(thread: Int) {
    while let task = take() {
      do throws(Failure) {
        let result = try body(task, thread)
        state.withLock {
          $0.outcome.results[task] = result
          $0.doneWeight += weights[task]
        }
      } catch {
        let failure = StageOutcome<Result>.TaskFailure(task, error)
        state.withLock {
          if task < $0.outcome.failure?.task ?? .max { $0.outcome.failure = failure }
        }
      }
    }
    threadEnd.signal()
  }

  private func take() -> Int? {
    state.withLock { state in
      guard state.outcome.failure == nil, state.next < tasks.count else { return nil }
      defer { state.next += 1 }
      return tasks[state.next]
    }
  }

  /// Waits until all threads are done; false when the time is over before.
  func wait(threads: Int, seconds: Double) -> Bool {
    let deadline = DispatchTime.now() + seconds
    while state.withLock({ $0.finishedThreads }) < threads {
      guard threadEnd.wait(timeout: deadline) == .success else { return false }
      state.withLock { $0.finishedThreads += 1 }
    }
    return true
  }

  var doneWeight: Int { state.withLock { $0.doneWeight } }
  var outcome: StageOutcome<Result> { state.withLock { $0.outcome } }
}
