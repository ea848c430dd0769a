import Parallelism
import Tensors
import Testing

@Suite struct OwnershipTests {
  private static let sections = [0..<1, 1..<50_002, 50_002..<50_002, 50_002..<1_200_003]

  @Test(arguments: 1...9, [1, 20_000, 1 << 20])
  func everyParameterHasOneOwnerAndChunksStayWhole(replicas: Int, bucketCount: Int) {
    let ranksOfStage = [
      (0..<replicas).map { 2 * $0 }, (0..<replicas).map { 2 * $0 + 1 },
    ]
    let ownership = OwnershipMap(
      sections: Self.sections, stageOfSection: [0, 0, 1, 1], ranksOfStage: ranksOfStage,
      bucketCount: bucketCount)
    let spans = ownership.spansInOrder
    #expect(spans.first?.span.lowerBound == 0 && spans.last?.span.upperBound == 1_200_003)
    for (left, right) in zip(spans, spans.dropFirst()) {
      #expect(left.span.upperBound == right.span.lowerBound)
    }
    for (rank, span) in spans {
      let section = Self.sections.first { $0.contains(span.lowerBound) } ?? 0..<0
      #expect((span.lowerBound - section.lowerBound) % reductionChunkCount == 0)
      #expect(span.upperBound <= section.upperBound)
      #expect(rank % 2 == (span.lowerBound < 50_002 ? 0 : 1))
      #expect(ownership.spans(of: rank).contains(span))
    }
    let owned = (0..<2 * replicas).map { ownership.spans(of: $0).map(\.count).reduce(0, +) }
    #expect(owned.reduce(0, +) == 1_200_003)
    for bucket in ownership.buckets {
      let counts = bucket.spans.map(\.count)
      #expect((counts.max() ?? 0) - (counts.min() ?? 0) <= 2 * reductionChunkCount)
    }
  }

  @Test func replicasOfANodeAreNeighbours() {
    let group = ExchangeGroup(
      ranks: [1, 3, 5, 7], nodeOfRank: [0, 0, 0, 0, 1, 1, 2, 2], replica: 1)
    #expect(group.nodes == [0..<2, 2..<3, 3..<4])
    #expect(group.neighbours == 0..<2)
    #expect((0..<4).map { group.node(of: $0) } == [0, 0, 1, 2])
  }
}
