import Core

/// Inverted dropout: each element is zeroed with probability p and the others are scaled by 1 / (1 - p).
///
/// Sixteen random bits decide an element, so p is rounded to a multiple of 2^-16. The mask is a
/// function of the stream and the element's index alone: the backward pass draws it again instead of
/// storing it.
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
      forEachWide(count) { wide($0, Wide(repeating: 1)) } tail: { tail($0, 1) }
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

  /// The four multipliers of a group: low halves of words 0 and 1, of words 2 and 3, then high halves.
  @inline(__always) private func withMultipliers(
    _ stream: RandomStream, _ group: Int, _ body: (Int, Wide) -> Void
  ) {
    let words = philoxBlocks(stream, first: group &* 8)
    body(0, multiplier(SIMD16(lowHalf: words.0, highHalf: words.1) & 0xFFFF))
    body(1, multiplier(SIMD16(lowHalf: words.2, highHalf: words.3) & 0xFFFF))
    body(2, multiplier(SIMD16(lowHalf: words.0, highHalf: words.1) &>> 16))
    body(3, multiplier(SIMD16(lowHalf: words.2, highHalf: words.3) &>> 16))
  }

  @inline(__always) private func multiplier(_ bits: SIMD16<UInt32>) -> Wide {
    Wide(repeating: scale).replacing(with: 0, where: bits .< SIMD16(repeating: cut))
  }
}

/// Eight consecutive blocks of a stream at once: element j of word w is word w of block `first + j`.
@inline(__always) func philoxBlocks(
  _ stream: RandomStream, first: Int
) -> (SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>, SIMD8<UInt32>) {
  typealias Words = SIMD8<UInt32>
  typealias Products = SIMD8<UInt64>
  var c0 = Words(repeating: UInt32(truncatingIfNeeded: first)) &+ Words(0, 1, 2, 3, 4, 5, 6, 7)
  var c1 = Words(repeating: stream.words[0])
  var c2 = Words(repeating: stream.words[1])
  var c3 = Words(repeating: stream.words[2])
  var key = stream.key
  for _ in 0..<Philox.rounds {
    let p0 = Products(truncatingIfNeeded: c0) &* UInt64(Philox.multiplier0)
    let p1 = Products(truncatingIfNeeded: c2) &* UInt64(Philox.multiplier1)
    c0 = Words(truncatingIfNeeded: p1 &>> 32) ^ c1 ^ key[0]
    c1 = Words(truncatingIfNeeded: p1)
    c2 = Words(truncatingIfNeeded: p0 &>> 32) ^ c3 ^ key[1]
    c3 = Words(truncatingIfNeeded: p0)
    key[0] &+= Philox.weyl0
    key[1] &+= Philox.weyl1
  }
  return (c0, c1, c2, c3)
}
