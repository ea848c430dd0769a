import Core

/// Inverted dropout: each element is zeroed with probability p and the others are scaled by 1 / (1
/// - p).
///
/// Sixteen random bits decide an element, so elements are zeroed with p rounded to a multiple of
/// 2^-16; the scale is that of p as given. The mask is a function of the stream and the element's
/// index alone: the backward pass draws it again instead of storing it.
/// Source: "Attention Is All You Need", section 5.4; Srivastava et al., 2014.
package struct Dropout: Sendable {
  package let probability: Float
  private let cut: UInt32
  private let scale: Float

  /// - Precondition: 0 <= probability < 1.
  package init(probability: Float) {
    precondition(probability >= 0 && probability < 1, "a dropout probability lies in [0, 1)")
    self.probability = probability
    cut = UInt32((probability * 65536).rounded())
    scale = 1 / (1 - probability)
  }

  /// destination = mask * source, plus `residual` if there is one.
  ///
  /// All may be the same memory. Shapes: equal, contiguous.
  package func apply(
    _ source: Matrix, adding residual: Matrix? = nil, into destination: Matrix,
    stream: RandomStream
  ) {
    precondition(source.rows == destination.rows && source.columns == destination.columns)
    precondition(residual.map { $0.rows == source.rows && $0.columns == source.columns } ?? true)
    let x = source.vector
    let y = destination.vector
    if let residual {
      let r = residual.vector
      transform(x.count, stream) { i, multiplier in
        (Wide(loading: r.base + i).addingProduct(Wide(loading: x.base + i), multiplier))
          .store(to: y.base + i)
      } tail: { i, multiplier in
        y.base[i] = r.base[i].addingProduct(x.base[i], multiplier)
      }
    } else {
      transform(x.count, stream) { i, multiplier in
        (Wide(loading: x.base + i) * multiplier).store(to: y.base + i)
      } tail: { i, multiplier in
        y.base[i] = x.base[i] * multiplier
      }
    }
  }

  /// Calls `wide` with the multipliers of sixteen elements from an index on, and `tail` with one.
  @inline(__always) private func transform(
    _ count: Int, _ stream: RandomStream, wide: (Int, Wide) -> Void, tail: (Int, Float) -> Void
  ) {
    guard cut > 0 else {
      forEachWide(count) {
        wide($0, Wide(repeating: 1))
      } tail: {
        tail($0, 1)
      }
      return
    }
    let groups = count / Self.groupSize
    for group in 0..<groups {
      withMultipliers(stream, group) { part, multiplier in
        wide(group &* Self.groupSize &+ part &* 16, multiplier)
      }
    }
    guard groups * Self.groupSize < count else { return }
    withMultipliers(stream, groups) { part, multiplier in
      let start = groups * Self.groupSize + part * 16
      for lane in 0..<max(0, min(16, count - start)) { tail(start + lane, multiplier[lane]) }
    }
  }

  /// Elements decided by eight consecutive Philox blocks.
  private static let groupSize = 64

  /// The four multipliers of a group: low halves of words 0 and 1, of words 2 and 3, then high
  /// halves; words of one block lie side by side.
  @inline(__always) private func withMultipliers(
    _ stream: RandomStream, _ group: Int, _ body: (Int, Wide) -> Void
  ) {
    let (first, second) = philoxBlocks(stream, first: group &* 8)
    body(0, multiplier(first & 0xFFFF))
    body(1, multiplier(second & 0xFFFF))
    body(2, multiplier(first &>> 16))
    body(3, multiplier(second &>> 16))
  }

  /// scale where bits >= cut, else 0: the sign of their difference is the mask. (A SIMD comparison
  /// of integers is compiled to a loop over its elements.)
  @inline(__always) private func multiplier(_ bits: SIMD16<UInt32>) -> Wide {
    let sign = SIMD16<Int32>(truncatingIfNeeded: bits &- cut) &>> 31
    let scaleBits = SIMD16<Int32>(repeating: Int32(bitPattern: scale.bitPattern))
    return unsafeBitCast(~sign & scaleBits, to: Wide.self)
  }
}

/// Eight consecutive blocks of a stream at once, equal to `Philox.block`: words 0 and 1 of each
/// block side by side, then words 2 and 3. The constants are Philox's, written out because those of
/// another module are not inlined.
@inline(__always) private func philoxBlocks(
  _ stream: RandomStream, first: Int
) -> (SIMD16<UInt32>, SIMD16<UInt32>) {
  // A 32-bit word in a 64-bit lane: the product of two is one instruction and needs no shuffling.
  typealias Words = SIMD8<UInt64>
  let mask: UInt64 = 0xFFFF_FFFF
  var c0 = (Words(repeating: UInt64(first)) &+ Words(0, 1, 2, 3, 4, 5, 6, 7)) & mask
  var c1 = Words(repeating: UInt64(stream.words[0]))
  var c2 = Words(repeating: UInt64(stream.words[1]))
  var c3 = Words(repeating: UInt64(stream.words[2]))
  var key = stream.key
  for _ in 0..<10 {
    let p0 = (c0 & mask) &* 0xD251_1F53
    let p1 = (c2 & mask) &* 0xCD9E_8D57
    c0 = (p1 &>> 32) ^ c1 ^ UInt64(key[0])
    c1 = p1 & mask
    c2 = (p0 &>> 32) ^ c3 ^ UInt64(key[1])
    c3 = p0 & mask
    key[0] &+= 0x9E37_79B9
    key[1] &+= 0xBB67_AE85
  }
  return (
    unsafeBitCast(c0 | c1 &<< 32, to: SIMD16<UInt32>.self),
    unsafeBitCast(c2 | c3 &<< 32, to: SIMD16<UInt32>.self)
  )
}
