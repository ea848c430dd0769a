import Core
import Foundation

/// Reads ahead: a thread prepares the next steps of a replica while this one computes.
package final class Prefetcher: Sendable {
  /// A step and those of its micro-batches that this replica owns.
  package struct Step: Sendable {
    package var plan: StepPlan
    /// `plan.microBatches[indices]`, loaded.
    package var microBatches: [MicroBatch]
  }

  /// Steps that are ready at most.
  private static let depth = 2

  private let queue: BoundedQueue<Result<Step, Failure>>

  /// Starts reading at `position`; of each step the micro-batches `indices` are loaded.
  ///
  /// Throws: `Failure(.internal)` when no thread can be started.
  package init(_ loader: Loader, position: Int, indices: Range<Int>) throws(Failure) {
    precondition(
      indices.lowerBound >= 0 && indices.upperBound <= loader.options.microBatchesPerStep,
      "a replica owns micro-batches of the step")
    let queue = BoundedQueue<Result<Step, Failure>>(capacity: Self.depth)
    self.queue = queue
    do throws(Failure) {
      try ServiceThread.start("loader") {
        Self.read(loader, from: position, indices, into: queue)
      }
    } catch {
      // There is nobody whose end `deinit` could wait for.
      queue.finish()
      throw error
    }
  }

  deinit { stop() }

  /// The next step, waiting for it when it is not ready yet.
  ///
  /// Throws: what went wrong while reading ahead; no step comes after it.
  package func next() throws(Failure) -> Step {
    guard let step = queue.take() else {
      throw Failure(.internal, "loader: a step was asked for after the last one")
    }
    return try step.get()
  }

  /// Ends the thread and waits until it has let go of its files.
  package func stop() { queue.closeAndWait() }

  private static func read(
    _ loader: Loader, from start: Int, _ indices: Range<Int>,
    into queue: BoundedQueue<Result<Step, Failure>>
  ) {
    var position = start
    var isReading = true
    while isReading {
      let result = Result { () throws(Failure) -> Step in
        let plan = try loader.plan(position: position)
        var microBatches: [MicroBatch] = []
        for index in indices { microBatches.append(try loader.load(plan.microBatches[index])) }
        return Step(plan: plan, microBatches: microBatches)
      }
      isReading = queue.put(result)
      switch result {
      case .success(let step): position = step.plan.nextPosition
      case .failure: isReading = false
      }
    }
    queue.finish()
  }
}

/// A first-in, first-out line between one producing and one consuming thread.
///
/// Unchecked: every access to the stored properties happens under the condition's lock.
private final class BoundedQueue<Element: Sendable>: @unchecked Sendable {
  private let capacity: Int
  private let changed = NSCondition()
  private var elements: [Element] = []
  private var isClosed = false
  private var isFinished = false

  init(capacity: Int) { self.capacity = capacity }

  /// Waits for room; false when nobody takes any more.
  func put(_ element: Element) -> Bool {
    changed.lock()
    defer { changed.unlock() }
    while elements.count == capacity && !isClosed { changed.wait() }
    if isClosed { return false }
    elements.append(element)
    changed.broadcast()
    return true
  }

  /// Waits for an element; nil when none will come.
  func take() -> Element? {
    changed.lock()
    defer { changed.unlock() }
    while elements.isEmpty && !isFinished && !isClosed { changed.wait() }
    if elements.isEmpty { return nil }
    let element = elements.removeFirst()
    changed.broadcast()
    return element
  }

  /// Called by the producer as the last thing it does.
  func finish() {
    changed.lock()
    defer { changed.unlock() }
    isFinished = true
    changed.broadcast()
  }

  /// Called by the consumer: no more elements are wanted.
  func closeAndWait() {
    changed.lock()
    defer { changed.unlock() }
    isClosed = true
    elements.removeAll()
    changed.broadcast()
    while !isFinished { changed.wait() }
  }
}
