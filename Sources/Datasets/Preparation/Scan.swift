import Core

/// The first look at all pairs: what is empty or lopsided, and a record of the others by which
/// equal ones find each other.
struct Scan {
  let texts: [PairedText]
  let pairRecords: RecordFiles
  /// nil where nothing is asked of sources alone.
  let sourceRecords: RecordFiles?

  /// What a block had.
  struct Result: Codable, Sendable {
    var read = 0
    var empty = Tally()
    var lopsided = Tally()
  }

  /// Looks at blocks; `round` names the files that are written.
  ///
  /// Collective. Throws: `Failure` (.badData) for text that is not UTF-8, with file and line.
  func run(
    _ blocks: [Block], round: String, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> Result {
    let (texts, rank) = (texts, team.rank)
    let (pairRecords, sourceRecords) = (pairRecords, sourceRecords)
    let writers = (0..<team.jobs).map { thread in
      let name = "\(round)-\(rank)-\(thread)"
      return (pairs: pairRecords.writer(name), sources: sourceRecords?.writer(name))
    }
    let results = try team.run(
      StageProgress("scanning text", blocks.map(\.byteCount), say: say)
    ) { (task, thread) throws(Failure) -> Result in
      let block = blocks[task]
      let (pairs, sources) = writers[thread]
      var reader = try BlockReader(block, of: texts[block.text])
      var result = Result()
      while try reader.next() {
        result.read += 1
        let index = block.firstIndex + reader.position
        if reader.pair.hasEmptySide {
          result.empty.add(index)
        } else if reader.pair.isLopsided {
          result.lopsided.add(index)
        } else {
          let source = reader.pair.source.identity
          let pair = Self.identity(source, reader.pair.target.identity)
          try pairs.output(pairRecords.partition(of: pair))
            .write(numbers: PairRecord(digest: pair, index: index).words)
          if let sourceRecords, let sources {
            try sources.output(sourceRecords.partition(of: source))
              .write(numbers: PairRecord(digest: source, index: index).words)
          }
        }
      }
      return result
    }
    _ = try team.onEvery { () throws(Failure) -> Int in
      for writer in writers {
        try writer.pairs.flush()
        try writer.sources?.flush()
      }
      return 0
    }
    return results.reduce(into: Result()) {
      $0.read += $1.read
      $0.empty.add($1.empty)
      $0.lopsided.add($1.lopsided)
    }
  }

  /// Equal for pairs whose sides are.
  static func identity(_ source: Digest, _ target: Digest) -> Digest {
    let words = [source.high, source.low, target.high, target.low]
    return words.withUnsafeBytes { Digest(of: $0) }
  }
}

/// How many pairs something was done with, and the first of them.
struct Tally: Codable, Sendable, Equatable {
  var count = 0
  /// The number of the first pair.
  var first: Int?

  mutating func add(_ index: Int) {
    count += 1
    first = min(first ?? index, index)
  }

  mutating func add(_ other: Tally) {
    count += other.count
    if let theirs = other.first { first = min(first ?? theirs, theirs) }
  }
}
