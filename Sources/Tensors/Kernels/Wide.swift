/// Sixteen floats: the unit in which every kernel walks memory (one AVX-512 register, or two or
/// four narrower ones).
typealias Wide = SIMD16<Float>

extension Wide {
  @inline(__always) init(loading pointer: UnsafePointer<Float>) {
    self = UnsafeRawPointer(pointer).loadUnaligned(as: Wide.self)
  }

  @inline(__always) init(loading pointer: UnsafeMutablePointer<Float>) {
    self = UnsafeRawPointer(pointer).loadUnaligned(as: Wide.self)
  }

  /// Loads the first `count` floats; the rest is zero.
  @inline(__always) init(loading pointer: UnsafePointer<Float>, first count: Int) {
    self.init(repeating: 0)
    for i in 0..<count { self[i] = pointer[i] }
  }

  @inline(__always) func store(to pointer: UnsafeMutablePointer<Float>) {
    UnsafeMutableRawPointer(pointer).storeBytes(of: self, as: Wide.self)
  }

  @inline(__always) func store(to pointer: UnsafeMutablePointer<Float>, first count: Int) {
    for i in 0..<count { pointer[i] = self[i] }
  }

  /// The sum of all elements, halves first: ((0 + 8) + (4 + 12)) and so on.
  @inline(__always) var total: Float {
    let eight = lowHalf + highHalf
    let four = eight.lowHalf + eight.highHalf
    let two = four.lowHalf + four.highHalf
    return two[0] + two[1]
  }

  @inline(__always) var largest: Float {
    let eight = lowHalf.replacing(with: highHalf, where: highHalf .> lowHalf)
    let four = eight.lowHalf.replacing(with: eight.highHalf, where: eight.highHalf .> eight.lowHalf)
    let two = four.lowHalf.replacing(with: four.highHalf, where: four.highHalf .> four.lowHalf)
    return two[0] > two[1] ? two[0] : two[1]
  }

  /// exp of each element, within 2 units in the last place on [-87, 88], which is also where the
  /// argument is clamped; NaN stays NaN.
  ///
  /// Equation: exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln 2 / 2; exp(r) by a polynomial of
  /// degree 6 (coefficients of Cephes expf, S. Moshier).
  @inline(__always) var exponential: Wide {
    // Not by pointwiseMin and pointwiseMax: of NaN and a number they return the number.
    let x = replacing(with: 88, where: self .> 88).replacing(with: -87, where: self .< -87)
    // Adding 1.5 * 2^23 leaves round(x / ln 2) in the low bits of the significand.
    let shifted = x * 1.442_695_04 + 12_582_912
    let n = shifted - 12_582_912
    var r = x.addingProduct(n, Wide(repeating: -0.693_359_375))
    r = r.addingProduct(n, Wide(repeating: 2.121_944_4e-4))
    var p = Wide(repeating: 1.987_569_15e-4)
    p = Wide(repeating: 1.398_199_950_7e-3).addingProduct(p, r)
    p = Wide(repeating: 8.333_451_907_3e-3).addingProduct(p, r)
    p = Wide(repeating: 4.166_579_589_4e-2).addingProduct(p, r)
    p = Wide(repeating: 1.666_666_545_9e-1).addingProduct(p, r)
    p = Wide(repeating: 5.000_000_120_1e-1).addingProduct(p, r)
    let fraction = (r + 1).addingProduct(p, r * r)
    let bits = unsafeBitCast(shifted, to: SIMD16<Int32>.self) &<< 23
    return fraction * unsafeBitCast(bits &+ SIMD16<Int32>(repeating: 127 << 23), to: Wide.self)
  }
}
