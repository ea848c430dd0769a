import Core

/// Puts what the blocks of a split gave together as its shards, in the order of the pairs.
struct ShardCut {
  let texts: [PairedText]
  let blocks: [Block]
  /// What each block gave.
  let encoded: [Encoding.Result]
  let files: EncodedFiles
  let writer: ShardWriter
  let shardPairs: Int
  let isNarrow: Bool

  /// Writes all shards of a split.
  ///
  /// One at a time in each process: libhdf5 does one thing at a time, and a shard is what takes
  /// memory.
  /// Collective.
  func run(
    _ split: Split, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> [ShardSummary] {
    var firsts: [Int] = []
    var count = 0
    for result in encoded {
      firsts.append(count)
      count += result.parts[split.rawValue]?.pairs ?? 0
    }
    let total = count
    let starts = Array(stride(from: 0, to: total, by: shardPairs))
    let work = firsts
    return try team.run(
      StageProgress(
        "writing shards of \(split.rawValue)", starts.map { min(shardPairs, total - $0) }, .pairs,
        say: say),
      threads: 1
    ) { (shard, _) throws(Failure) -> ShardSummary in
      let range = starts[shard]..<min(starts[shard] + shardPairs, total)
      let (content, places) = try content(of: range, split, firsts: work)
      return try writer.write(
        content, preview: try preview(places), split: split, number: shard)
    }
  }

  /// Where a pair came from.
  private struct Place {
    var block: Int
    var position: Int
  }

  /// Encoded pairs `range` of a split, and where the first of them came from.
  private func content(
    of range: Range<Int>, _ split: Split, firsts: [Int]
  ) throws(Failure) -> (ShardContent, [Place]) {
    var (source, target) = (PackedSequences(), PackedSequences())
    var places: [Place] = []
    let touched = encoded.indices.filter {
      let count = encoded[$0].parts[split.rawValue]?.pairs ?? 0
      return count > 0 && firsts[$0] < range.upperBound
        && firsts[$0] + count > range.lowerBound
    }
    let parts = touched.compactMap { encoded[$0].parts[split.rawValue] }
    source.tokens.reserveCapacity(parts.reduce(0) { $0 + $1.sourceTokens })
    target.tokens.reserveCapacity(parts.reduce(0) { $0 + $1.targetTokens })
    for block in touched {
      var input = try InputRun(files.of(split, block: block).tokens)
      var index = firsts[block]
      while index < range.upperBound, let position = try input.number(UInt32.self) {
        let sourceCount = Int(try input.number(UInt32.self) ?? 0)
        let targetCount = Int(try input.number(UInt32.self) ?? 0)
        let bytes = try input.bytes((sourceCount + targetCount) * (isNarrow ? 2 : 4))
        if index >= range.lowerBound {
          bytes.withUnsafeBytes { raw in
            append(raw, 0..<sourceCount, to: &source)
            append(raw, sourceCount..<sourceCount + targetCount, to: &target)
          }
          if places.count < ShardFormat.previewCount {
            places.append(Place(block: block, position: Int(position)))
          }
        }
        index += 1
      }
    }
    return (ShardContent(source: source, target: target), places)
  }

  private func append(
    _ raw: UnsafeRawBufferPointer, _ tokens: Range<Int>, to sequences: inout PackedSequences
  ) {
    for token in tokens {
      sequences.tokens.append(
        isNarrow
          ? Int32(raw.loadUnaligned(fromByteOffset: 2 * token, as: UInt16.self))
          : raw.loadUnaligned(fromByteOffset: 4 * token, as: Int32.self))
    }
    sequences.offsets.append(sequences.tokens.count)
  }

  /// The texts of pairs, read once more where they came from.
  private func preview(_ places: [Place]) throws(Failure) -> [TextPair] {
    var pairs: [TextPair] = []
    var next = 0
    while next < places.count {
      let block = blocks[places[next].block]
      var reader = try BlockReader(block, of: texts[block.text])
      while next < places.count, blocks[places[next].block].firstIndex == block.firstIndex {
        while reader.position + 1 < places[next].position { try reader.skip() }
        guard try reader.next() else { break }
        pairs.append(reader.pair.texts)
        next += 1
      }
    }
    return pairs
  }

  /// Puts the texts of a split's blocks together as its two files of text.
  func writeTexts(
    of split: Split, in folder: String
  ) throws(Failure) -> [DatasetManifest.TextEntry] {
    var entries: [DatasetManifest.TextEntry] = []
    for (number, side) in ["source", "target"].enumerated() {
      let name = "\(split.rawValue).\(side).txt"
      let output = try OutputFile("\(folder)/\(name)")
      var digest = try DigestStream()
      for (block, result) in encoded.enumerated() where result.parts[split.rawValue] != nil {
        let path = files.of(split, block: block).texts[number]
        let file = try OpenFile(reading: path)
        let end = try file.byteCount()
        for offset in stride(from: 0, to: end, by: LineReader.bufferByteCount) {
          let bytes = try file.read(
            byteCount: min(LineReader.bufferByteCount, end - offset), at: offset)
          digest.add(bytes[...])
          try output.write(bytes)
        }
      }
      try output.flush()
      entries.append(.init(file: name, digest: "\(digest.digest)"))
    }
    return entries
  }
}
