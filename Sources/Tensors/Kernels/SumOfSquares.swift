/// The grain of every sum over parameters: spans that ranks own are cut at its multiples only, so a
/// chunk is always summed whole, by one rank.
package let reductionChunkCount = 16_384

/// The sum of squares of each chunk of `reductionChunkCount` elements; the last may be shorter.
///
/// Order: eight lanes in double precision, then the lanes as a balanced tree. Squares of floats are
/// exact and cannot overflow there, so a sum is non-finite only if an element is.
package func chunkSumsOfSquares(_ vector: Vector) -> [Double] {
  stride(from: 0, to: vector.count, by: reductionChunkCount).map { start in
    sumOfSquares(vector[start..<min(vector.count, start + reductionChunkCount)])
  }
}

private func sumOfSquares(_ vector: Vector) -> Double {
  let x = vector.base
  let n = vector.count
  var lanes = SIMD8<Double>.zero
  var i = 0
  while i + 8 <= n {
    let wide = SIMD8<Double>(UnsafeRawPointer(x + i).loadUnaligned(as: SIMD8<Float>.self))
    lanes += wide * wide
    i += 8
  }
  var lane = 0
  while i < n {
    let element = Double(x[i])
    lanes[lane] += element * element
    i += 1
    lane += 1
  }
  let four = lanes.evenHalf + lanes.oddHalf
  let two = four.evenHalf + four.oddHalf
  return two[0] + two[1]
}
