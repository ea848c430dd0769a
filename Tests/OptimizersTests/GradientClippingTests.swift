import Core
import Optimizers
import Tensors
import Testing

@Suite struct GradientClippingTests {
  @Test func onlyLongGradientsAreScaled() {
    #expect(GradientClipping.scale(norm: 4, limit: 1) == 0.25)
    #expect(GradientClipping.scale(norm: 0.5, limit: 1) == 1)
    #expect(GradientClipping.scale(norm: 0, limit: 1) == 1)
    #expect(GradientClipping.scale(norm: 1e30, limit: 0) == 1)
  }

  @Test(arguments: [0, 1, 3, 7, 8, 9, 16_384, 16_385, 50_001])
  func theNormIsThatOfDoublePrecision(count: Int) {
    let random = RandomStream(seed: 5, purpose: .synthesis, site: 1)
    let room = FloatBuffer(count: count)
    var naive = 0.0
    for i in 0..<count {
      room.view.base[i] = Float(random.uniform(at: i) - 0.5)
      naive += Double(room.view.base[i]) * Double(room.view.base[i])
    }
    let sums = chunkSumsOfSquares(room.view)
    #expect(sums.count == (count + 16_383) / 16_384)
    let norm = GradientClipping.norm(chunkSums: sums)
    #expect(abs(norm - naive.squareRoot()) <= 1e-12 * naive.squareRoot())
  }

  @Test(arguments: [Float.infinity, -.infinity, .nan]) func oneBadElementSpoilsTheNorm(bad: Float) {
    let room = FloatBuffer(count: 20_001)
    // The largest float is still a number: its square does not overflow.
    room.view.base[3] = .greatestFiniteMagnitude
    #expect(GradientClipping.norm(chunkSums: chunkSumsOfSquares(room.view)).isFinite)
    room.view.base[20_000] = bad
    #expect(!GradientClipping.norm(chunkSums: chunkSumsOfSquares(room.view)).isFinite)
  }

  @Test func theTreePairsNeighbours() {
    #expect(balancedTreeSum([]) == 0)
    #expect(balancedTreeSum([3]) == 3)
    // Halves of the last place vanish one by one but not as a pair: the order shows.
    let h = 0x1p-53
    #expect(balancedTreeSum([1, h, h, h]) == 1 + 0x1p-52)
    #expect([1, h, h, h].reduce(0, +) == 1)
    // An odd last value waits for its turn: (h + h) + (h + h), then + 1.
    #expect(balancedTreeSum([h, h, h, h, 1]) == 1 + 0x1p-51)
  }
}
