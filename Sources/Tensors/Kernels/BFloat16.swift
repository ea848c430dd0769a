/// Conversion of fp32 to bfloat16: the upper half of a float, rounded to the nearest, ties to even.
///
/// Infinities stay, a NaN stays one, denormals are rounded like every other number.
enum BFloat16 {
  /// The bits of `matrix`, its rows one after the other without gaps.
  static func convert(_ matrix: Matrix, to target: UnsafeMutablePointer<UInt16>) {
    guard !matrix.isContiguous else {
      return convert(matrix.base, matrix.rows * matrix.columns, to: target)
    }
    for row in 0..<matrix.rows {
      convert(
        matrix.base + row * matrix.stride, matrix.columns, to: target + row * matrix.columns)
    }
  }

  private static func convert(
    _ source: UnsafePointer<Float>, _ count: Int, to target: UnsafeMutablePointer<UInt16>
  ) {
    let whole = count & ~15
    var i = 0
    while i < whole {
      let bits = rounded(Wide(loading: source + i))
      UnsafeMutableRawPointer(target + i).storeBytes(of: bits, as: SIMD16<UInt16>.self)
      i += 16
    }
    guard whole < count else { return }
    let rest = rounded(Wide(loading: source + whole, first: count - whole))
    for place in whole..<count { target[place] = rest[place - whole] }
  }

  @inline(__always) private static func rounded(_ values: Wide) -> SIMD16<UInt16> {
    let bits = unsafeBitCast(values, to: SIMD16<UInt32>.self)
    let half = ((bits &>> 16) & 1) &+ 0x7fff
    // Carrying into the exponent would make a NaN of the largest significand a zero.
    let kept = (bits &+ half).replacing(with: bits | 0x40_0000, where: values .!= values)
    return unsafeBitCast(kept, to: SIMD32<UInt16>.self).oddHalf
  }
}
