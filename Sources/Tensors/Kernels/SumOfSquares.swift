import CInstructions

/// The grain of every sum over parameters: spans that ranks own are cut at its multiples only, so a
/// chunk is always summed whole, by one rank.
package let reductionChunkCount = 16_384

/// The sum of squares of each chunk of `reductionChunkCount` elements; the last may be shorter.
package func chunkSumsOfSquares(_ vector: Vector) -> [Double] {
  stride(from: 0, to: vector.count, by: reductionChunkCount).map { start in
    var sum = SquareSum()
    sum.add(vector[start..<min(vector.count, start + reductionChunkCount)])
    return sum.total
  }
}

/// A sum of squares that grows by vectors.
///
/// Order: eight lanes in double precision, then the lanes as a balanced tree. Squares of floats are
/// exact and cannot overflow there, so a sum is non-finite only if an element is. Where a long
/// vector is cut into several does not matter as long as all but the last have a multiple of eight
/// elements.
package struct SquareSum {
  private var lanes = SIMD8<Double>.zero

  package init() {}

  package var total: Double {
    let four = lanes.evenHalf + lanes.oddHalf
    let two = four.evenHalf + four.oddHalf
    return two[0] + two[1]
  }

  package mutating func add(_ vector: Vector) {
    let x = vector.base
    var sum = lanes
    var i = 0
    while i + 8 <= vector.count {
      let wide = SIMD8<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self))
      sum += wide * wide
      i += 8
    }
    addTail(x + i, vector.count - i, &sum)
    lanes = sum
  }

  /// target = left + right, and the squares of the target join the sum while it is at hand.
  ///
  /// Shapes: all [n]. The target may be `left` or `right` themselves.
  package mutating func add(_ left: Vector, plus right: Vector, into target: Vector) {
    let n = target.count
    precondition(left.count == n && right.count == n, "counts differ")
    let (x, y, z) = (left.base, right.base, target.base)
    var sum = lanes
    var i = 0
    while i + 16 <= n {
      lockstep_prefetch(x + i + prefetchDistance)
      lockstep_prefetch(y + i + prefetchDistance)
      let added =
        UnsafeRawPointer(x + i).loadUnaligned(as: SIMD16<Float>.self)
        + UnsafeRawPointer(y + i).loadUnaligned(as: SIMD16<Float>.self)
      UnsafeMutableRawPointer(z + i).storeBytes(of: added, as: SIMD16<Float>.self)
      let low = SIMD8<Double>(added.lowHalf)
      let high = SIMD8<Double>(added.highHalf)
      sum += low * low
      sum += high * high
      i += 16
    }
    while i < n {
      z[i] = x[i] + y[i]
      i += 1
    }
    lanes = sum
    let rest = n - n % 16
    add(target[rest..<n])
  }

  private func addTail(_ x: UnsafePointer<Float>, _ count: Int, _ sum: inout SIMD8<Double>) {
    for lane in 0..<count {
      let element = Double(x[lane])
      sum[lane] += element * element
    }
  }
}
