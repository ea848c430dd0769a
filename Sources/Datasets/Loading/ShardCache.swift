import Core
import Synchronization

/// Shards of one split that were read lately, so that memory is bounded by their number.
final class ShardCache: Sendable {
  private let dataset: Dataset
  private let split: Split
  private let capacity: Int
  /// The shard used last is last.
  private let entries = Mutex<[(index: Int, content: ShardContent)]>([])

  init(_ dataset: Dataset, _ split: Split, capacity: Int) {
    precondition(capacity > 0, "a cache holds something")
    self.dataset = dataset
    self.split = split
    self.capacity = capacity
  }

  /// Shards in memory.
  var count: Int { entries.withLock { $0.count } }

  /// The pairs of shards that are trained on, shard by shard, with the tokens the model sees: one
  /// more a side, for end (or begin).
  ///
  /// - Parameters:
  ///   - counts: how many of each shard's pairs the index has with no side above `longestSide`.
  ///   - statistics: of all pairs, as the index has them.
  /// Throws: as `Dataset.content`; `Failure` (.badData) when the index says otherwise.
  func lengths(
    of shards: some Sequence<Int>, counts: [Int], longestSide: Int, statistics: LengthStatistics
  ) throws(Failure) -> [PairLength] {
    var lengths: [PairLength] = []
    var found = LengthStatistics()
    for shard in shards {
      let content = try self.shard(shard)
      let before = lengths.count
      for pair in 0..<content.itemCount {
        let length = PairLength(
          pair: PairReference(shard: Int32(shard), index: Int32(pair)),
          source: Int32(content.source.length(pair) + 1),
          target: Int32(content.target.length(pair) + 1))
        guard max(length.source, length.target) <= longestSide else { continue }
        lengths.append(length)
        found.add(length)
      }
      // The plan counts on it, and so does the memory that a step takes.
      guard lengths.count - before == counts[shard], statistics.covers(found) else {
        throw Failure(
          .badData,
          "\(dataset.folder.path(ofShard: shard, of: split)): expected the lengths that the"
            + " dataset's index has of it, found others; prepare the data again")
      }
    }
    return lengths
  }

  /// The tokens of planned pairs.
  func microBatch(_ planned: PlannedMicroBatch) throws(Failure) -> MicroBatch {
    var contents: [Int32: ShardContent] = [:]
    var pairs: [(source: [Int32], target: [Int32])] = []
    pairs.reserveCapacity(planned.pairs.count)
    for reference in planned.pairs {
      let content: ShardContent
      if let known = contents[reference.shard] {
        content = known
      } else {
        content = try shard(Int(reference.shard))
        contents[reference.shard] = content
      }
      let pair = Int(reference.index)
      pairs.append((content.source.sequence(pair), content.target.sequence(pair)))
    }
    let result = MicroBatch(pairs: pairs)
    precondition(
      result.source.tokens.count == planned.sourceTokens
        && result.targetOutput.count == planned.targetTokens, "a plan of another dataset")
    return result
  }

  /// One reader at a time: whoever comes second finds what the first has read.
  private func shard(_ index: Int) throws(Failure) -> ShardContent {
    try entries.withLock { (entries) throws(Failure) -> ShardContent in
      if let place = entries.firstIndex(where: { $0.index == index }) {
        let entry = entries.remove(at: place)
        entries.append(entry)
        return entry.content
      }
      if entries.count == capacity { entries.removeFirst() }
      let content = try dataset.content(shard: index, of: split)
      entries.append((index, content))
      return content
    }
  }
}

extension PackedSequences {
  fileprivate func sequence(_ index: Int) -> [Int32] {
    Array(tokens[offsets[index]..<offsets[index + 1]])
  }
}
