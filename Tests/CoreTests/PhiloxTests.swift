import Core
import Testing

@Suite struct PhiloxTests {
  /// Known-answer vectors of the authors' Random123 distribution (kat_vectors, philox4x32 10).
  @Test(arguments: [
    (
      SIMD4<UInt32>(repeating: 0), SIMD2<UInt32>(repeating: 0),
      SIMD4<UInt32>(0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8)
    ),
    (
      SIMD4<UInt32>(repeating: .max), SIMD2<UInt32>(repeating: .max),
      SIMD4<UInt32>(0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd)
    ),
    (
      SIMD4<UInt32>(0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344),
      SIMD2<UInt32>(0xa409_3822, 0x299f_31d0),
      SIMD4<UInt32>(0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1)
    ),
  ])
  func matchesTheAuthorsVectors(
    counter: SIMD4<UInt32>, key: SIMD2<UInt32>, expected: SIMD4<UInt32>
  ) {
    #expect(Philox.block(counter, key: key) == expected)
  }

  @Test func streamsOfDifferentPurposeSiteAndTimeDiffer() {
    let streams = [
      RandomStream(seed: 1, purpose: .dropout, site: 0),
      RandomStream(seed: 2, purpose: .dropout, site: 0),
      RandomStream(seed: 1, purpose: .epochShuffle, site: 0),
      RandomStream(seed: 1, purpose: .dropout, site: 1),
      RandomStream(seed: 1, purpose: .dropout, site: 0, a: 1),
      RandomStream(seed: 1, purpose: .dropout, site: 0, b: 1),
    ]
    #expect(Set(streams.map { $0.bits(at: 0) }).count == streams.count)
  }

  @Test func uniformNumbersFillTheUnitInterval() {
    let stream = RandomStream(seed: 7, purpose: .sampling, site: 3)
    let draws = (0..<10_000).map { stream.uniform(at: $0) }
    #expect(draws.allSatisfy { $0 >= 0 && $0 < 1 })
    #expect(abs(draws.reduce(0, +) / 10_000 - 0.5) < 0.01)
  }
}
