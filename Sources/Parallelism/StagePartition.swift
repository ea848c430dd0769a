import Core

/// Which blocks each chunk of the pipeline holds.
///
/// Blocks are encoder and decoder layers, numbered from the source to the loss; a chunk is a
/// contiguous range of them, never empty.
package struct StagePartition: Sendable, Equatable {
  package let placement: ChunkPlacement
  /// The blocks of each chunk; together all of them.
  package let blocks: [Range<Int>]
  /// The cost of each chunk, in the units of the block costs.
  package let costs: [Int]

  /// The cut with the least largest cost; among those the most even one (least sum of squares);
  /// among those the one with fewer blocks in front, where more micro-batches are in flight.
  ///
  /// - Parameter blockCosts: the work of each block with its attachments, in any unit.
  ///
  /// Throws: `Failure` (.configuration) when there are fewer blocks than chunks.
  ///
  /// Cost: O(chunks x blocks^2).
  package init(blockCosts: [Int], placement: ChunkPlacement) throws(Failure) {
    let chunks = placement.chunkCount
    guard chunks <= blockCosts.count else {
      let found =
        placement.chunksPerStage == 1
        ? "\(placement.stages) stages"
        : "\(placement.stages) stages of \(placement.chunksPerStage) chunks"
      throw Failure(
        .configuration,
        "parallel.stages: expected at most one part for each of the model's \(blockCosts.count) "
          + "layers, found \(found); use fewer")
    }
    let counts = Self.mostEvenCounts(blockCosts, parts: chunks)
    self.init(blockCosts: blockCosts, counts: counts, placement: placement)
  }

  /// The cut a user asks for.
  ///
  /// - Parameter stageBlocks: how many blocks each chunk gets (`parallel.stage_blocks`).
  ///
  /// Throws: `Failure` (.configuration) when they are not one positive number a chunk that add up
  /// to the blocks of the model.
  package init(
    blockCosts: [Int], stageBlocks: [Int], placement: ChunkPlacement
  ) throws(Failure) {
    let key = "parallel.stage_blocks"
    guard stageBlocks.count == placement.chunkCount else {
      throw Failure(
        .configuration,
        "\(key): expected \(placement.chunkCount) numbers (\(placement.stages) stages of "
          + "\(placement.chunksPerStage)), found \(stageBlocks.count); give one for each part")
    }
    if let wrong = stageBlocks.first(where: { $0 < 1 }) {
      throw Failure(
        .configuration,
        "\(key): expected numbers of at least 1, found \(wrong); every part needs a "
          + "layer")
    }
    let sum = stageBlocks.reduce(0) { $0.addingReportingOverflow($1).partialValue }
    guard sum == blockCosts.count else {
      throw Failure(
        .configuration,
        "\(key): expected a sum of \(blockCosts.count), the layers of the model, found \(sum); "
          + "change the numbers until they add up")
    }
    self.init(blockCosts: blockCosts, counts: stageBlocks, placement: placement)
  }

  private init(blockCosts: [Int], counts: [Int], placement: ChunkPlacement) {
    precondition(blockCosts.allSatisfy { $0 >= 0 }, "work is not negative")
    self.placement = placement
    var start = 0
    blocks = counts.map { count in
      defer { start += count }
      return start..<start + count
    }
    costs = blocks.map { blockCosts[$0].reduce(0, +) }
  }

  /// The chunk that holds a block.
  package func chunk(of block: Int) -> Int {
    guard let chunk = blocks.firstIndex(where: { $0.contains(block) }) else {
      preconditionFailure("block \(block) does not exist")
    }
    return chunk
  }

  /// The share of a stage in the cost of all, 0...1.
  package func costShare(of stage: Int) -> Double {
    let total = costs.reduce(0, +)
    let own = placement.chunks(of: stage).reduce(0) { $0 + costs[$1] }
    return total == 0 ? 0 : Double(own) / Double(total)
  }

  /// What each stage holds, for the banner: "encoder 4-5, decoder 0 (27 %)"; with several chunks
  /// "encoder 0 + decoder 1 (50 %)".
  package func stageDescriptions(encoderBlocks: Int) -> [String] {
    (0..<placement.stages).map { stage in
      let names = placement.chunks(of: stage).map { chunk in
        Self.name(of: blocks[chunk], encoderBlocks: encoderBlocks)
      }
      let percent = Int((costShare(of: stage) * 100).rounded())
      return "\(names.joined(separator: " + ")) (\(percent) %)"
    }
  }

  private static func name(of blocks: Range<Int>, encoderBlocks: Int) -> String {
    let encoder = min(blocks.lowerBound, encoderBlocks)..<min(blocks.upperBound, encoderBlocks)
    let decoder = max(blocks.lowerBound, encoderBlocks)..<max(blocks.upperBound, encoderBlocks)
    let inDecoder = decoder.lowerBound - encoderBlocks..<decoder.upperBound - encoderBlocks
    return [("encoder", encoder), ("decoder", inDecoder)]
      .filter { !$0.1.isEmpty }
      .map { name, range in
        range.count == 1
          ? "\(name) \(range.lowerBound)" : "\(name) \(range.lowerBound)-\(range.upperBound - 1)"
      }
      .joined(separator: ", ")
  }
}

// MARK: The dynamic programme

extension StagePartition {
  /// The number of blocks of each part.
  private static func mostEvenCounts(_ costs: [Int], parts: Int) -> [Int] {
    var prefix = [0]
    for cost in costs { prefix.append(prefix[prefix.count - 1] + cost) }
    let limit = leastLargestCost(prefix, parts: parts)
    // best[k][b]: the least sum of squares of blocks b... in k parts that all keep the limit, and
    // how many blocks the first of them takes.
    let count = costs.count
    var best = [[(squares: Double, first: Int)?]](
      repeating: Array(repeating: nil, count: count + 1), count: parts + 1)
    best[0][count] = (0, 0)
    for k in 1...parts {
      for start in 0...count where count - start >= k {
        for end in start + 1...count - k + 1 {
          let cost = prefix[end] - prefix[start]
          guard cost <= limit, let rest = best[k - 1][end] else { continue }
          let squares = Double(cost) * Double(cost) + rest.squares
          // Ends ascend, so of equal cuts the one with fewer blocks in front stays.
          if best[k][start].map({ squares < $0.squares }) ?? true {
            best[k][start] = (squares, end - start)
          }
        }
      }
    }
    var counts: [Int] = []
    var start = 0
    for k in stride(from: parts, to: 0, by: -1) {
      guard let first = best[k][start]?.first else {
        preconditionFailure("the least largest cost has a cut")
      }
      counts.append(first)
      start += first
    }
    return counts
  }

  /// The least largest cost of any cut into non-empty parts; `prefix[b]` is the cost of the first b
  /// blocks.
  private static func leastLargestCost(_ prefix: [Int], parts: Int) -> Int {
    let count = prefix.count - 1
    // least[b]: of the first b blocks in the parts so far; one part to begin with.
    var least = prefix
    for part in stride(from: 2, through: parts, by: 1) {
      var next = [Int](repeating: .max, count: count + 1)
      for end in part...count {
        for start in part - 1..<end {
          next[end] = min(next[end], max(least[start], prefix[end] - prefix[start]))
        }
      }
      least = next
    }
    return least[count]
  }
}
