import Core
import Foundation

/// Work on a thread of its own, whose end another thread asks or waits for.
final class Background<Value: Sendable>: @unchecked Sendable {
  // Unchecked: `result` is only touched with the condition's lock held.
  private let condition = NSCondition()
  private var result: Result<Value, Failure>?

  init(_ work: @escaping @Sendable () throws(Failure) -> Value) {
    Thread { [self] in
      let result = Result { () throws(Failure) in try work() }
      condition.lock()
      self.result = result
      condition.broadcast()
      condition.unlock()
    }.start()
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

  /// Lets threads that compute go first, from now on and for the calling thread alone.
  static func yieldToTraining() {
    // Linux keeps this number by thread; without the right to change it all stay equal.
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 5)
  }
}
