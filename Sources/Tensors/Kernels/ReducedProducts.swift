import CInstructions
import Core
import Foundation
import Synchronization

/// Matrix products whose operands are rounded to bfloat16 and whose sums are fp32: what CPUs with
/// AMX or AVX512-BF16 compute several times faster than fp32 products.
///
/// Rounding is to the nearest, ties to even; denormals count as zero. OpenBLAS as Debian ships it
/// has no such products.
package enum ReducedProducts {
  /// Products of fewer multiplications than this stay fp32: packing the operands of the attention
  /// of a short sentence takes longer than its products. A matter of shape alone, as all cutting.
  private static let leastWork = 1 << 18

  /// Which instructions multiply; they differ in the order of sums.
  private enum Instructions: Int {
    case none
    case amx
    case avx512

    /// As in /proc/cpuinfo.
    var name: String? {
      switch self {
      case .none: nil
      case .amx: "amx_bf16"
      case .avx512: "avx512_bf16"
      }
    }
  }

  private static let chosen = Atomic<Int>(Instructions.none.rawValue)
  private static var instructions: Instructions {
    Instructions(rawValue: chosen.load(ordering: .relaxed)) ?? .none
  }

  /// Whether the large products of this process are reduced.
  package static var areInUse: Bool { instructions != .none }

  /// The instructions in use, which decide the last bits.
  package static var kernels: String? { instructions.name }

  /// How many numbers the packed operands of this thread's products have room for.
  package static var heldCount: Int {
    let memory = PackedOperands.ofThisThread
    return memory.first.count + memory.second.count
  }

  /// From here on the large products of this process take bfloat16. Call before the first product.
  ///
  /// - Parameter features: what the CPU has, by the names of /proc/cpuinfo.
  /// Throws: `Failure` (.configuration) where the CPU has no such products.
  package static func use(cpu features: [String]) throws(Failure) {
    guard features.contains("avx512_bf16") else {
      throw Failure(
        .configuration,
        "precision.compute: bf16 needs a CPU with avx512_bf16 (and is fastest with amx_bf16), which"
          + " this one does not have; take precision.compute=fp32")
    }
    let hasTiles = features.contains("amx_bf16") && lockstep_request_amx()
    chosen.store((hasTiles ? Instructions.amx : .avx512).rawValue, ordering: .relaxed)
  }

  /// c = scale * op(a) op(b) + (accumulate ? c : 0), if it is large enough and these products are
  /// in use; false when nothing was done.
  static func multiply(
    _ a: Matrix, _ aTransposed: Bool, _ b: Matrix, _ bTransposed: Bool, _ c: Matrix, inner k: Int,
    _ scale: Float, _ accumulate: Bool
  ) -> Bool {
    let instructions = instructions
    guard instructions != .none, c.rows * c.columns * k >= leastWork else { return false }
    let result = lockstep_result(
      base: c.base, rows: c.rows, columns: c.columns, stride: c.stride, scale: scale,
      accumulate: accumulate)
    let memory = PackedOperands.ofThisThread
    let first = memory.first.room(packedCount(c.rows, k))
    let second = memory.second.room(packedCount(c.columns, k))
    lockstep_pack_first(
      lockstep_operand(
        base: a.base, outer: c.rows, inner: k, stride: a.stride,
        inner_is_contiguous: !aTransposed), first)
    lockstep_pack_second(
      lockstep_operand(
        base: b.base, outer: c.columns, inner: k, stride: b.stride,
        inner_is_contiguous: bTransposed), second)
    switch instructions {
    case .amx: lockstep_multiply_amx(first, second, k, result)
    case .avx512: lockstep_multiply_avx512(first, second, k, result)
    case .none: preconditionFailure("no instructions")
    }
    return true
  }

  /// How many numbers a packed operand has: whole tiles.
  package static func packedCount(_ outer: Int, _ inner: Int) -> Int {
    func whole(_ extent: Int, _ tile: Int) -> Int { (extent + tile - 1) / tile * tile }
    return whole(outer, 2 * Int(LOCKSTEP_TILE_OUTER)) * whole(inner, Int(LOCKSTEP_TILE_INNER))
  }
}

/// The packed operands of a thread's products: two buffers that grow to what the largest needs.
private final class PackedOperands {
  struct Buffer {
    private var base: UnsafeMutablePointer<UInt16>?
    private(set) var count = 0

    /// Room for `wanted` numbers; what was there is gone.
    mutating func room(_ wanted: Int) -> UnsafeMutablePointer<UInt16> {
      if let base, count >= wanted { return base }
      release()
      var memory: UnsafeMutableRawPointer?
      let byteCount = wanted * MemoryLayout<UInt16>.stride
      guard posix_memalign(&memory, 64, byteCount) == 0, let memory else {
        endForWantOfMemory(byteCount: byteCount)
      }
      let new = memory.bindMemory(to: UInt16.self, capacity: wanted)
      (base, count) = (new, wanted)
      return new
    }

    func release() { free(base) }
  }

  var first = Buffer()
  var second = Buffer()

  deinit {
    first.release()
    second.release()
  }

  static var ofThisThread: PackedOperands {
    let key = PackedOperands.key
    if let known = pthread_getspecific(key) {
      return Unmanaged<PackedOperands>.fromOpaque(known).takeUnretainedValue()
    }
    let new = PackedOperands()
    pthread_setspecific(key, Unmanaged.passRetained(new).toOpaque())
    return new
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let code = pthread_key_create(&key) { value in
      if let value { Unmanaged<PackedOperands>.fromOpaque(value).release() }
    }
    precondition(code == 0, "no key for a thread's own memory")
    return key
  }()
}
