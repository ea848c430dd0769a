import Tensors

/// Which rank updates which parameters, and the pieces in which gradients are exchanged.
///
/// Every section of a stage is cut into buckets and every bucket over the replicas of that stage,
/// at multiples of `reductionChunkCount` from the section's start only, so that a chunk of a norm
/// is always summed whole, by one rank, however the model is cut into stages and replicas.
package struct OwnershipMap: Sendable, Equatable {
  /// Parameters whose gradients are exchanged together.
  package struct Bucket: Sendable, Equatable {
    package let section: Int
    package let stage: Int
    package let range: Range<Int>
    /// What the rank of each replica updates; together exactly the range, some may be empty.
    package let spans: [Range<Int>]
  }

  package let parameterCount: Int
  /// All buckets, in the order of the parameters.
  package let buckets: [Bucket]
  /// The ranks that hold a stage, one a replica, in replica order.
  package let ranksOfStage: [[Int]]

  /// - Parameters:
  ///   - sections: contiguous ranges, each whole on one stage; together all parameters in order.
  ///   - stageOfSection: the stage that has the gradient of each section.
  ///   - bucketCount: elements of a bucket at most, rounded up to whole chunks.
  package init(
    sections: [Range<Int>], stageOfSection: [Int], ranksOfStage: [[Int]],
    bucketCount: Int = defaultBucketCount
  ) {
    precondition(sections.count == stageOfSection.count, "one stage for each section")
    precondition(bucketCount > 0, "a bucket has elements")
    let chunks = (bucketCount + reductionChunkCount - 1) / reductionChunkCount
    var buckets: [Bucket] = []
    for (number, section) in sections.enumerated() {
      let stage = stageOfSection[number]
      let replicas = ranksOfStage[stage].count
      for start in stride(
        from: section.lowerBound, to: section.upperBound, by: chunks * reductionChunkCount)
      {
        let range = start..<min(section.upperBound, start + chunks * reductionChunkCount)
        buckets.append(
          Bucket(
            section: number, stage: stage, range: range,
            spans: Self.cut(range, over: replicas, rotation: buckets.count)))
      }
    }
    parameterCount = sections.last?.upperBound ?? 0
    self.buckets = buckets
    self.ranksOfStage = ranksOfStage
  }

  /// 4 MiB: large enough for the latency of a network not to count, small enough that the last one
  /// is soon exchanged and stays in the cache until it is used.
  package static let defaultBucketCount = 1 << 20

  /// What a rank updates, in the order of the parameters, without empty spans.
  package func spans(of rank: Int) -> [Range<Int>] {
    buckets.compactMap { bucket in
      guard let replica = ranksOfStage[bucket.stage].firstIndex(of: rank) else { return nil }
      let span = bucket.spans[replica]
      return span.isEmpty ? nil : span
    }
  }

  /// The ranks and spans of all chunks in the order of the parameters.
  package var spansInOrder: [(rank: Int, span: Range<Int>)] {
    buckets.flatMap { bucket in
      bucket.spans.indices.filter { !bucket.spans[$0].isEmpty }
        .sorted { bucket.spans[$0].lowerBound < bucket.spans[$1].lowerBound }
        .map { (ranksOfStage[bucket.stage][$0], bucket.spans[$0]) }
    }
  }

  /// The chunks of a bucket as equally as possible; who gets one more changes with the bucket.
  private static func cut(
    _ range: Range<Int>, over replicas: Int, rotation: Int
  ) -> [Range<Int>] {
    let chunks = (range.count + reductionChunkCount - 1) / reductionChunkCount
    return (0..<replicas).map { replica in
      let share = equalShare(of: chunks, part: (replica + rotation) % replicas, parts: replicas)
      let start = range.lowerBound + share.lowerBound * reductionChunkCount
      let end = range.lowerBound + share.upperBound * reductionChunkCount
      return min(start, range.upperBound)..<min(end, range.upperBound)
    }
  }
}
