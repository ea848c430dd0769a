import Core
import Messaging
import Models
import Tensors

/// A micro-batch in a chunk of this rank: what it keeps between its forward and its backward pass,
/// and the messages that use that memory.
final class MicroBatchFlight {
  let arena: Arena
  var input: [Matrix] = []
  var saved: ModelChunk.Saved?
  var outputGradient: [Matrix] = []
  var result: ModelChunk.BackwardResult?
  var inputArrival: (any PendingTransfers)?
  var gradientArrival: (any PendingTransfers)?
  var sends: [any PendingTransfers] = []

  init(arena: Arena) { self.arena = arena }
}

/// The arenas of one chunk: as many as micro-batches can be in flight in it.
final class FlightMemory {
  private var free: [Arena]
  /// Flights that are over but for their messages, oldest first.
  private var leaving: [MicroBatchFlight] = []
  let byteCount: Int

  init(count: Int, capacity: Int) {
    free = (0..<count).map { _ in Arena(capacity: capacity) }
    byteCount = count * capacity * MemoryLayout<Float>.stride
  }

  /// A new flight, or nil when all arenas are in use and waiting is not wanted.
  func begin(waits: Bool) throws(Failure) -> MicroBatchFlight? {
    if free.isEmpty { try reclaim(waits: waits) }
    guard let arena = free.popLast() else { return nil }
    arena.reset()
    return MicroBatchFlight(arena: arena)
  }

  /// Takes a flight back; its memory is free once its messages are gone.
  func end(_ flight: MicroBatchFlight) { leaving.append(flight) }

  /// Waits for the messages of all flights that are over.
  func drain() throws(Failure) {
    while !leaving.isEmpty { try reclaim(waits: true) }
  }

  private func reclaim(waits: Bool) throws(Failure) {
    guard let oldest = leaving.first else { return }
    for send in oldest.sends {
      if waits { try send.wait() } else if try !send.isDone() { return }
    }
    leaving.removeFirst()
    free.append(oldest.arena)
  }
}
