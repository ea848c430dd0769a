import Core
import Foundation

/// Owns zero-filled floats, aligned to a page. The kernel is asked for huge pages in large buffers,
/// so that they cost few TLB entries.
package struct FloatBuffer: ~Copyable, @unchecked Sendable {
  // Unchecked: the owner is noncopyable and hands out views only.
  private let storage: UnsafeMutableRawPointer
  private let byteCount: Int
  package let count: Int

  /// Reserves address space; the kernel supplies zeroed memory at first touch. Where it reserves
  /// none the process ends (exit code 73).
  package init(count: Int) {
    precondition(count >= 0, "a buffer cannot have a negative count")
    self.count = count
    byteCount = max(1, count) * MemoryLayout<Float>.stride
    let mapped = mmap(
      nil, byteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let mapped, mapped != MAP_FAILED else {
      endForWantOfMemory(byteCount: byteCount)
    }
    storage = mapped
    // Advice only: without huge pages the buffer works the same.
    if byteCount >= 1 << 21 { _ = madvise(mapped, byteCount, 14 /* MADV_HUGEPAGE */) }
  }

  deinit { munmap(storage, byteCount) }

  package var view: Vector {
    Vector(base: storage.assumingMemoryBound(to: Float.self), count: count)
  }
}
