/// Philox4x32-10, a counter-based random number generator: every draw is a function of its key and
/// counter alone, so it does not matter who draws, when, or what was drawn before.
///
/// Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).
package enum Philox {
  private static let multiplier0: UInt32 = 0xD251_1F53
  private static let multiplier1: UInt32 = 0xCD9E_8D57
  private static let weyl0: UInt32 = 0x9E37_79B9
  private static let weyl1: UInt32 = 0xBB67_AE85
  private static let rounds = 10

  /// 128 random bits for a counter under a key.
  package static func block(
    _ counter: SIMD4<UInt32>, key: SIMD2<UInt32>
  ) -> SIMD4<UInt32> {
    var c = counter
    var k = key
    for _ in 0..<rounds {
      let p0 = UInt64(c[0]) * UInt64(multiplier0)
      let p1 = UInt64(c[2]) * UInt64(multiplier1)
      c = SIMD4(
        UInt32(truncatingIfNeeded: p1 >> 32) ^ c[1] ^ k[0],
        UInt32(truncatingIfNeeded: p1),
        UInt32(truncatingIfNeeded: p0 >> 32) ^ c[3] ^ k[1],
        UInt32(truncatingIfNeeded: p0))
      k[0] &+= weyl0
      k[1] &+= weyl1
    }
    return c
  }
}

/// One named stream of random numbers: where a draw belongs in the run decides its value.
///
/// Equation: block i of the stream is Philox(counter: (i, purpose << 24 | site, a, b), key: seed).
package struct RandomStream: Equatable, Sendable {
  /// What random numbers are drawn for; part of every counter, so that uses never collide.
  package enum Purpose: UInt32, Sendable {
    case initialWeights = 1
    case dropout = 2
    case epochShuffle = 3
    case sampling = 4
    case synthesis = 5
    case names = 6
  }

  package let key: SIMD2<UInt32>
  /// Counter words 1 to 3; word 0 is the block index.
  package let words: SIMD3<UInt32>

  /// - Parameters:
  ///   - site: where inside the model or the data the numbers are used (a layer, a parameter, a
  ///     window); below 2^24.
  ///   - a, b: when: step and lane, or epoch and window.
  package init(seed: UInt64, purpose: Purpose, site: Int, a: Int = 0, b: Int = 0) {
    precondition(site >= 0 && site < 1 << 24, "site outside of 24 bits")
    key = SIMD2(UInt32(truncatingIfNeeded: seed), UInt32(truncatingIfNeeded: seed >> 32))
    words = SIMD3(
      purpose.rawValue << 24 | UInt32(site), UInt32(truncatingIfNeeded: a),
      UInt32(truncatingIfNeeded: b))
  }

  /// Random bits `128 * index ..< 128 * (index + 1)` of the stream.
  package func block(_ index: Int) -> SIMD4<UInt32> {
    Philox.block(
      SIMD4(UInt32(truncatingIfNeeded: index), words[0], words[1], words[2]), key: key)
  }

  /// 64 random bits at a position.
  package func bits(at index: Int) -> UInt64 {
    let four = block(index >> 1)
    return index & 1 == 0
      ? UInt64(four[0]) | UInt64(four[1]) << 32 : UInt64(four[2]) | UInt64(four[3]) << 32
  }

  /// A number in [0, 1) at a position, from 53 random bits.
  package func uniform(at index: Int) -> Double { Double(bits(at: index) >> 11) * 0x1p-53 }
}
