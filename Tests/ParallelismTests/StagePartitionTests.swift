import Core
import Parallelism
import Testing

@Suite struct StagePartitionTests {
  /// Every cut of some blocks into non-empty parts, fewest blocks in front first.
  private func compositions(of count: Int, parts: Int) -> [[Int]] {
    if parts == 1 { return count > 0 ? [[count]] : [] }
    guard count >= parts else { return [] }
    return (1...count - parts + 1).flatMap { first in
      compositions(of: count - first, parts: parts - 1).map { [first] + $0 }
    }
  }

  private func costs(_ blocks: [Int], cut: [Int]) -> [Int] {
    var rest = blocks[...]
    return cut.map { count in
      defer { rest = rest.dropFirst(count) }
      return rest.prefix(count).reduce(0, +)
    }
  }

  private func counts(_ partition: StagePartition) -> [Int] { partition.blocks.map(\.count) }

  @Test(arguments: 1...9) func theCutIsTheBestOfAll(count: Int) throws {
    for salt in 0..<12 {
      let blocks = (0..<count).map { ($0 * $0 * (salt + 3) + 7 * salt * $0 + salt) % (salt + 2) }
      for parts in 1...count {
        let partition = try StagePartition(
          blockCosts: blocks, placement: ChunkPlacement(stages: parts))
        // The first of the best by largest cost, then by squares: compositions ascend.
        let rated = compositions(of: count, parts: parts).map { cut in
          let costs = costs(blocks, cut: cut)
          return (cut: cut, largest: costs.max() ?? 0, squares: costs.reduce(0) { $0 + $1 * $1 })
        }
        let best = rated.min { ($0.largest, $0.squares) < ($1.largest, $1.squares) }
        #expect(counts(partition) == best?.cut, "\(blocks) in \(parts)")
        #expect(partition.costs == costs(blocks, cut: counts(partition)))
        #expect(partition.blocks.flatMap { Array($0) } == Array(0..<count))
      }
    }
  }

  @Test func equalBlocksAreSharedEquallyAndTheVocabularyCounts() throws {
    let four = ChunkPlacement(stages: 4)
    let equal = try StagePartition(blockCosts: Array(repeating: 5, count: 12), placement: four)
    #expect(counts(equal) == [3, 3, 3, 3])
    let vocabulary = Array(repeating: 10, count: 11) + [40]
    #expect(counts(try StagePartition(blockCosts: vocabulary, placement: four)) == [3, 4, 4, 1])
    let uneven = try StagePartition(
      blockCosts: Array(repeating: 5, count: 12), placement: ChunkPlacement(stages: 5))
    #expect(counts(uneven) == [2, 2, 2, 3, 3])
  }

  @Test func chunksGoRoundTheStages() throws {
    let partition = try StagePartition(
      blockCosts: Array(repeating: 1, count: 12),
      placement: ChunkPlacement(stages: 2, chunksPerStage: 3))
    #expect(partition.blocks == [0..<2, 2..<4, 4..<6, 6..<8, 8..<10, 10..<12])
    #expect(partition.placement.chunks(of: 1) == [1, 3, 5])
    #expect((0..<12).map { partition.chunk(of: $0) } == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])
    #expect(partition.costShare(of: 0) == 0.5)
  }

  @Test func theBannerNamesEncoderAndDecoderLayers() throws {
    let costs = [2, 2, 2, 3, 3, 4]
    func descriptions(_ stageBlocks: [Int], stages: Int, chunks: Int = 1) throws -> [String] {
      try StagePartition(
        blockCosts: costs, stageBlocks: stageBlocks,
        placement: ChunkPlacement(stages: stages, chunksPerStage: chunks)
      ).stageDescriptions(encoderBlocks: 3)
    }
    #expect(
      try descriptions([3, 3], stages: 2) == ["encoder 0-2 (38 %)", "decoder 0-2 (63 %)"])
    #expect(
      try descriptions([1, 3, 2], stages: 3)
        == ["encoder 0 (13 %)", "encoder 1-2, decoder 0 (44 %)", "decoder 1-2 (44 %)"])
    #expect(
      try descriptions([1, 2, 1, 2], stages: 2, chunks: 2)
        == ["encoder 0 + decoder 0 (31 %)", "encoder 1-2 + decoder 1-2 (69 %)"])
    #expect(try descriptions([6], stages: 1) == ["encoder 0-2, decoder 0-2 (100 %)"])
  }

  @Test func aWantedCutIsTaken() throws {
    let partition = try StagePartition(
      blockCosts: [1, 1, 1, 1, 1], stageBlocks: [1, 3, 1], placement: ChunkPlacement(stages: 3))
    #expect(partition.blocks == [0..<1, 1..<4, 4..<5])
    #expect(partition.costs == [1, 3, 1])
  }

  @Test(arguments: [
    (
      [2, 2],
      "expected a sum of 5, the layers of the model, found 4; change the numbers until "
        + "they add up"
    ),
    ([1, 2, 2], "expected 2 numbers (2 stages of 1), found 3; give one for each part"),
    ([0, 5], "expected numbers of at least 1, found 0; every part needs a layer"),
    (
      [.max, .max],
      "expected a sum of 5, the layers of the model, found -2; change the numbers "
        + "until they add up"
    ),
  ])
  func aWantedCutThatDoesNotFitIsRefused(stageBlocks: [Int], message: String) {
    #expect(throws: Failure(.configuration, "parallel.stage_blocks: \(message)")) {
      try StagePartition(
        blockCosts: [1, 1, 1, 1, 1], stageBlocks: stageBlocks, placement: ChunkPlacement(stages: 2))
    }
  }

  @Test(arguments: [(4, 1, "4 stages"), (2, 2, "2 stages of 2 chunks")])
  func everyPartNeedsALayer(stages: Int, chunks: Int, found: String) {
    #expect(
      throws: Failure(
        .configuration,
        "parallel.stages: expected at most one part for each of the model's 3 layers, found "
          + "\(found); use fewer")
    ) {
      try StagePartition(
        blockCosts: [1, 1, 1],
        placement: ChunkPlacement(stages: stages, chunksPerStage: chunks))
    }
  }
}
