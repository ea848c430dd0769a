import Core
import Foundation
import Synchronization

/// Matrix products whose operands are rounded to bfloat16 and whose sums are fp32: what CPUs with
/// AMX or AVX512-BF16 compute two to five times faster than fp32 products.
///
/// They are oneDNN's, loaded when somebody asks for them, so that nobody else needs the library.
/// OpenBLAS as Debian ships it has none.
package enum ReducedProducts {
  /// Products of fewer multiplications than this stay fp32: rounding the operands of the attention
  /// of a short sentence takes longer than its products. A matter of shape alone, as all cutting.
  private static let leastWork = 1 << 18

  /// `dnnl_gemm_bf16bf16f32`: row-major, m, n, k, like cblas. It is exported beside `dnnl_sgemm`,
  /// takes every shape without compiling for it first, and is in no header.
  private typealias Product =
    @convention(c) (
      CChar, CChar, Int64, Int64, Int64, Float, UnsafeRawPointer, Int64, UnsafeRawPointer, Int64,
      Float, UnsafeMutablePointer<Float>, Int64
    ) -> CInt

  private static let name = Mutex<String?>(nil)
  /// The product's address; 0 before it is in use.
  private static let address = Atomic<UInt>(0)

  /// Whether the large products of this process are reduced.
  package static var areInUse: Bool { address.load(ordering: .relaxed) != 0 }

  /// Whose products are in use, with version and instruction set, which decide the last bits.
  package static var kernels: String? { name.withLock { $0 } }

  /// From here on the large products of this process take bfloat16. Call before the first product,
  /// while the process has one thread.
  ///
  /// Throws: `Failure` (.configuration) where the library or the CPU is missing.
  package static func use(cpu features: [String]) throws(Failure) {
    guard let instructions = ["amx_bf16", "avx512_bf16"].first(where: features.contains) else {
      throw Failure(
        .configuration,
        "precision.compute: bf16 needs a CPU with amx_bf16 or avx512_bf16, which this one does not"
          + " have; take precision.compute=fp32")
    }
    // The environment is no input of a step: one thread, and the best instructions there are.
    setenv("OMP_NUM_THREADS", "1", 1)
    for name in ["DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA"] { unsetenv(name) }
    guard let handle = dlopen("libdnnl.so.2", RTLD_NOW | RTLD_LOCAL) else {
      let reason = dlerror().map { escaped(String(cString: $0)) } ?? "no reason given"
      throw Failure(
        .configuration,
        "precision.compute: bf16 needs oneDNN (\(reason)); apt-get install libdnnl2, or take"
          + " precision.compute=fp32")
    }
    guard let product = dlsym(handle, "dnnl_gemm_bf16bf16f32") else {
      throw Failure(
        .configuration,
        "precision.compute: this libdnnl.so.2 has no products of bf16; take Debian's libdnnl2, or"
          + " precision.compute=fp32")
    }
    name.withLock { $0 = "oneDNN\(version(handle)) \(instructions)" }
    address.store(UInt(bitPattern: product), ordering: .relaxed)
  }

  private static func version(_ handle: UnsafeMutableRawPointer) -> String {
    // Three numbers, then texts: major, minor, patch.
    typealias Query = @convention(c) () -> UnsafePointer<CInt>?
    let numbers = dlsym(handle, "dnnl_version").flatMap { unsafeBitCast($0, to: Query.self)() }
    return numbers.map { " \($0[0]).\($0[1]).\($0[2])" } ?? ""
  }

  /// c = scale * op(a) op(b) + (accumulate ? c : 0), if it is large enough and these products are
  /// in use; false when nothing was done.
  static func multiply(
    _ a: Matrix, _ aTransposed: Bool, _ b: Matrix, _ bTransposed: Bool, _ c: Matrix, inner k: Int,
    _ scale: Float, _ accumulate: Bool
  ) -> Bool {
    let symbol = address.load(ordering: .relaxed)
    guard symbol != 0, c.rows * c.columns * k >= leastWork else { return false }
    let product = unsafeBitCast(symbol, to: Product.self)
    let (first, second) = Operands.ofThisThread.rounded(a, b)
    let (transposed, asItIs) = (CChar(UInt8(ascii: "T")), CChar(UInt8(ascii: "N")))
    let status = product(
      aTransposed ? transposed : asItIs, bTransposed ? transposed : asItIs, Int64(c.rows),
      Int64(c.columns), Int64(k), scale, first, Int64(a.columns), second, Int64(b.columns),
      accumulate ? 1 : 0, c.base, Int64(c.stride))
    precondition(status == 0, "oneDNN refused a product of \(c.rows) x \(k) x \(c.columns)")
    return true
  }
}

/// The rounded operands of a thread's products: two buffers that grow to what the largest needs.
private final class Operands {
  private struct Buffer {
    var base: UnsafeMutablePointer<UInt16>?
    var count = 0

    mutating func rounded(_ matrix: Matrix) -> UnsafeRawPointer {
      let wanted = matrix.rows * matrix.columns
      if count < wanted {
        free(base)
        var memory: UnsafeMutableRawPointer?
        let code = posix_memalign(&memory, 64, wanted * MemoryLayout<UInt16>.stride)
        precondition(code == 0, "no memory for the operands of a product")
        (base, count) = (memory?.bindMemory(to: UInt16.self, capacity: wanted), wanted)
      }
      guard let base else { preconditionFailure("an operand without elements") }
      BFloat16.convert(matrix, to: base)
      return UnsafeRawPointer(base)
    }
  }

  private var first = Buffer()
  private var second = Buffer()

  deinit {
    free(first.base)
    free(second.base)
  }

  func rounded(_ a: Matrix, _ b: Matrix) -> (UnsafeRawPointer, UnsafeRawPointer) {
    (first.rounded(a), second.rounded(b))
  }

  static var ofThisThread: Operands {
    let key = Operands.key
    if let known = pthread_getspecific(key) {
      return Unmanaged<Operands>.fromOpaque(known).takeUnretainedValue()
    }
    let new = Operands()
    pthread_setspecific(key, Unmanaged.passRetained(new).toOpaque())
    return new
  }

  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let code = pthread_key_create(&key) { value in
      if let value { Unmanaged<Operands>.fromOpaque(value).release() }
    }
    precondition(code == 0, "no key for a thread's own memory")
    return key
  }()
}
