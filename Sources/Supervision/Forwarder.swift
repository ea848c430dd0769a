import Core
import Foundation
import Synchronization

/// Writes to a terminal, pipe or file from a thread of its own: a reader that has stopped must not
/// stop who watches the ranks.
package final class Forwarder: Sendable {
  private struct State {
    var bytes: [UInt8] = []
    var isWriting = false
    /// Nobody can ever read: nothing is kept or waited for any more.
    var isClosed = false
  }

  /// More is dropped, as nobody seems to read.
  private static let byteLimit = 1 << 20
  private let state = Mutex(State())
  private let news = DispatchSemaphore(value: 0)

  /// Throws: `Failure(.internal)` when no thread can be started.
  package init(to descriptor: Int32) throws(Failure) {
    try ServiceThread.start("forwarder") { [self] in
      while true {
        news.wait()
        let piece = state.withLock { state in
          defer { state.bytes = [] }
          state.isWriting = !state.bytes.isEmpty
          return state.bytes
        }
        let isOpen = FileSystem.writeAll(piece, to: descriptor)
        state.withLock { state in
          state.isWriting = false
          state.isClosed = !isOpen
          if !isOpen { state.bytes = [] }
        }
        if !isOpen { return }
      }
    }
  }

  package func send(_ bytes: [UInt8]) {
    guard !bytes.isEmpty else { return }
    let isTaken = state.withLock { state in
      guard !state.isClosed, state.bytes.count + bytes.count <= Self.byteLimit else {
        return false
      }
      state.bytes += bytes
      return true
    }
    if isTaken { news.signal() }
  }

  /// Waits until all is written, but not for long.
  package func flush() {
    let watch = Stopwatch()
    while watch.seconds < 2, state.withLock({ $0.isWriting || !$0.bytes.isEmpty }) { usleep(1000) }
  }
}
