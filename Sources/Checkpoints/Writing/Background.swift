import Core
import Foundation

/// A thread that does one piece of work after another, until its owner lets go of it.
final class WorkThread: Sendable {
  /// What the thread has to do; it alone outlives the owner, until the work is done.
  private final class Queue: @unchecked Sendable {
    // Unchecked: everything is touched with the condition's lock held.
    private let condition = NSCondition()
    private var jobs: [@Sendable () -> Void] = []
    private var hasEnded = false

    func append(_ job: @escaping @Sendable () -> Void) {
      condition.lock()
      defer { condition.unlock() }
      jobs.append(job)
      condition.signal()
    }

    func end() {
      condition.lock()
      defer { condition.unlock() }
      hasEnded = true
      condition.signal()
    }

    /// The next job; nil when there will be none.
    func next() -> (@Sendable () -> Void)? {
      condition.lock()
      defer { condition.unlock() }
      while jobs.isEmpty && !hasEnded { condition.wait() }
      return jobs.isEmpty ? nil : jobs.removeFirst()
    }
  }

  private let queue = Queue()

  /// - Parameter niceness: how far threads that compute go first, 0 to 19.
  /// Throws: `Failure(.internal)` when no thread can be started.
  init(niceness: Int32) throws(Failure) {
    let queue = queue
    try ServiceThread.start("saving") {
      // Linux keeps this number by thread; without the right to change it all stay equal.
      _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, niceness)
      while let job = queue.next() { job() }
    }
  }

  deinit { queue.end() }

  func perform(_ job: @escaping @Sendable () -> Void) { queue.append(job) }
}

/// Work on another thread, whose end the present one asks or waits for.
final class Background<Value: Sendable>: @unchecked Sendable {
  // Unchecked: `result` is only touched with the condition's lock held.
  private let condition = NSCondition()
  private var result: Result<Value, Failure>?

  init(on thread: WorkThread, _ work: @escaping @Sendable () throws(Failure) -> Value) {
    thread.perform { [self] in
      let result = Result { () throws(Failure) in try work() }
      condition.lock()
      self.result = result
      condition.broadcast()
      condition.unlock()
    }
  }

  /// nil while the work goes on.
  var resultSoFar: Result<Value, Failure>? {
    condition.lock()
    defer { condition.unlock() }
    return result
  }

  /// Waits for the end of the work.
  func wait() {
    condition.lock()
    defer { condition.unlock() }
    while result == nil { condition.wait() }
  }
}
