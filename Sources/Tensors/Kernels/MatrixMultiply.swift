import CInstructions
import COpenBLAS
import Core
import Foundation

/// A matrix read with rows and columns exchanged.
package struct TransposedMatrix {
  package let matrix: Matrix
}

extension Matrix {
  package var transposed: TransposedMatrix { TransposedMatrix(matrix: self) }
}

/// c = scale * a b, or c += scale * a b when `accumulate`.
///
/// Shapes: a [m, k], b [k, n], c [m, n]. Order: the BLAS kernel set fixes the order of sums for a
/// shape; the library runs on one thread. Operands are bfloat16 where `ReducedProducts` are in use.
package func multiply(
  _ a: Matrix, _ b: Matrix, into c: Matrix, scale: Float = 1, accumulate: Bool = false
) {
  multiply(a, false, b, false, c, scale, accumulate)
}

/// c = scale * a b^T, or c += when `accumulate`. Shapes: a [m, k], b^T [k, n], c [m, n].
package func multiply(
  _ a: Matrix, _ b: TransposedMatrix, into c: Matrix, scale: Float = 1, accumulate: Bool = false
) {
  multiply(a, false, b.matrix, true, c, scale, accumulate)
}

/// c = scale * a^T b, or c += when `accumulate`. Shapes: a^T [m, k], b [k, n], c [m, n].
package func multiply(
  _ a: TransposedMatrix, _ b: Matrix, into c: Matrix, scale: Float = 1, accumulate: Bool = false
) {
  multiply(a.matrix, true, b, false, c, scale, accumulate)
}

private func multiply(
  _ a: Matrix, _ aTransposed: Bool, _ b: Matrix, _ bTransposed: Bool, _ c: Matrix, _ scale: Float,
  _ accumulate: Bool
) {
  let m = aTransposed ? a.columns : a.rows
  let k = aTransposed ? a.rows : a.columns
  let n = bTransposed ? b.rows : b.columns
  precondition(k == (bTransposed ? b.columns : b.rows), "inner extents differ")
  precondition(m == c.rows && n == c.columns, "the result has another shape")
  guard m > 0, n > 0 else { return }
  let isDone = ReducedProducts.multiply(
    a, aTransposed, b, bTransposed, c, inner: k, scale, accumulate)
  if isDone { return }
  cblas_sgemm(
    CblasRowMajor, aTransposed ? CblasTrans : CblasNoTrans, bTransposed ? CblasTrans : CblasNoTrans,
    blasint(m), blasint(n), blasint(k), scale, a.base, blasint(max(1, a.stride)), b.base,
    blasint(max(1, b.stride)), accumulate ? 1 : 0, c.base, blasint(max(1, c.stride)))
}

/// What the loaded BLAS and the compiled kernels are.
package enum KernelSet {
  /// The name of the kernel set OpenBLAS took when it was loaded.
  package static var blasCore: String { String(cString: openblas_get_corename()) }

  /// CPU features the kernels of this target were compiled to use, by their names in /proc/cpuinfo.
  package static var compiledFeatures: [String] {
    String(cString: lockstep_compiled_cpu_features()).split(separator: " ").map(String.init)
  }

  /// Work is cut by us; BLAS itself runs each piece on the calling thread.
  package static func useOneBLASThread() { openblas_set_num_threads(1) }

  /// The largest buffer of OpenBLAS's kernel sets, and what it adds to find a place in it.
  ///
  /// Source: OpenBLAS, common_x86_64.h (BUFFER_SIZE) and memory.c.
  private static let bufferByteCount = 128 << 20 + 64 << 10

  /// Has OpenBLAS take the memory it keeps for all products of the calling thread. Where the system
  /// gives none the process ends (exit code 73): OpenBLAS would ask for it for ever.
  package static func takeBLASMemory() {
    let buffer = mmap(
      nil, bufferByteCount, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let buffer, buffer != MAP_FAILED else { endForWantOfMemory(byteCount: bufferByteCount) }
    munmap(buffer, bufferByteCount)
    // Too large for the kernels that do without.
    let size = 128
    let operand = FloatBuffer(count: size * size)
    let result = FloatBuffer(count: size * size)
    cblas_sgemm(
      CblasRowMajor, CblasNoTrans, CblasNoTrans, blasint(size), blasint(size), blasint(size), 1,
      operand.view.base, blasint(size), operand.view.base, blasint(size), 0, result.view.base,
      blasint(size))
  }
}
