import CInstructions

/// How many floats ahead a kernel that streams through shared memory asks for the next lines:
/// 3 KiB, measured best on a server core.
let prefetchDistance = 768

/// target = left + right.
///
/// Shapes: all [n]. The target may be `left` or `right` themselves, but not overlap them otherwise.
package func add(_ left: Vector, _ right: Vector, into target: Vector) {
  let n = target.count
  precondition(left.count == n && right.count == n, "counts differ")
  let x = left.base
  let y = right.base
  let z = target.base
  var i = 0
  while i + 16 <= n {
    lockstep_prefetch(x + i + prefetchDistance)
    lockstep_prefetch(y + i + prefetchDistance)
    let sum =
      UnsafeRawPointer(x + i).loadUnaligned(as: SIMD16<Float>.self)
      + UnsafeRawPointer(y + i).loadUnaligned(as: SIMD16<Float>.self)
    UnsafeMutableRawPointer(z + i).storeBytes(of: sum, as: SIMD16<Float>.self)
    i += 16
  }
  while i < n {
    z[i] = x[i] + y[i]
    i += 1
  }
}
