import Core

extension DatasetIndex {
  /// Reads an index out of the bytes of its file, at places that a description names; nothing of
  /// either is believed.
  ///
  /// - Parameter path: of the file, for messages.
  /// Throws: `Failure(.badData)` unless every number fits the others and `splits`.
  init(
    _ file: IndexFile, streams: [String], splits expected: [Split: SplitSummary], path: String
  ) throws(Failure) {
    let reader = try IndexReader(file, path: path)
    var splits: [Split: SplitIndex] = [:]
    for split in Split.allCases {
      guard let summary = expected[split], summary.shards > 0 else { continue }
      splits[split] = try reader.split(split, summary, streamCount: streams.count)
    }
    self.init(streams: streams, splits: splits)
  }
}

/// The arrays of an index file, each checked when it is asked for.
private struct IndexReader {
  private let bytes: [UInt8]
  private let arrays: [String: IndexFile.StoredArray]
  private let path: String

  init(_ file: IndexFile, path: String) throws(Failure) {
    bytes = file.bytes
    self.path = path
    arrays = Dictionary(file.arrays.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
    guard arrays.count == file.arrays.count, arrays.count <= 3 * IndexFile.Name.allCases.count
    else { throw Failure(.badData, "\(path): is described with names twice, or too many") }
  }

  private func failure(_ name: String, _ expected: String) -> Failure {
    Failure(
      .badData,
      "\(path): \(escaped(name)): expected \(expected), found others; copy or prepare the"
        + " data again")
  }

  /// The elements of an array whose first dimension may be any and whose others are `row`.
  private func read<T: FixedWidthInteger>(
    _ name: String, _ type: T.Type, typeName: String, rows: Int?, row: [Int] = []
  ) throws(Failure) -> [T] {
    let width = T.bitWidth / 8
    guard let array = arrays[name], array.type == typeName, array.shape.count == row.count + 1,
      Array(array.shape.dropFirst()) == row,
      case let count = array.shape[0], count >= 0, rows == nil || rows == count
    else {
      let shape = [rows.map(String.init) ?? "any"] + row.map(String.init)
      throw failure(name, "an array of \(typeName) of shape [\(shape.joined(separator: ", "))]")
    }
    let (elements, isTooMany) = count.multipliedReportingOverflow(by: row.reduce(1, *))
    let (byteCount, isTooLong) = elements.multipliedReportingOverflow(by: width)
    guard !isTooMany, !isTooLong, array.byteOffset >= 0, array.byteOffset <= bytes.count,
      byteCount <= bytes.count - array.byteOffset
    else { throw failure(name, "elements inside of the file's \(bytes.count) bytes") }
    return bytes.withUnsafeBytes { raw in
      (0..<elements).map { index in
        T(
          littleEndian: raw.loadUnaligned(
            fromByteOffset: array.byteOffset + index * width, as: T.self))
      }
    }
  }

  func split(
    _ split: Split, _ summary: SplitSummary, streamCount: Int
  ) throws(Failure) -> DatasetIndex.SplitIndex {
    let shards = summary.shards
    func digests(_ name: IndexFile.Name) throws(Failure) -> [Digest] {
      let bytes = try read(
        name.path(of: split), UInt8.self, typeName: "uint8", rows: shards,
        row: [Digest.byteCount])
      return stride(from: 0, to: bytes.count, by: Digest.byteCount).map {
        Digest(bytes: bytes[$0..<$0 + Digest.byteCount])
      }
    }
    func numbers(
      _ name: IndexFile.Name, rows: Int?, row: [Int] = [], in range: ClosedRange<Int>
    ) throws(Failure) -> [Int] {
      let path = name.path(of: split)
      let numbers = try read(path, Int64.self, typeName: "int64", rows: rows, row: row)
      guard numbers.allSatisfy({ range.contains(Int($0)) }) else {
        throw failure(path, "numbers from \(range.lowerBound) to \(range.upperBound)")
      }
      return numbers.map { Int($0) }
    }
    func lengths(
      _ name: IndexFile.Name, rows: Int?, row: [Int] = []
    ) throws(Failure) -> [Int32] {
      let path = name.path(of: split)
      let numbers = try read(path, Int32.self, typeName: "int32", rows: rows, row: row)
      guard numbers.allSatisfy({ $0 > 0 }) else { throw failure(path, "numbers above 0") }
      return numbers
    }
    let most = DatasetIndex.shardCountLimit
    var columns = DatasetIndex.SplitIndex()
    columns.digests = try digests(.digests)
    columns.contentDigests = try digests(.contentDigests)
    columns.byteCounts = try numbers(.byteCounts, rows: shards, in: 1...Int.max >> 1)
    columns.items = try numbers(.items, rows: shards, in: 1...most)
    columns.tokens = try numbers(.tokens, rows: shards, row: [streamCount], in: 1...most)
    columns.unknownTokens = try numbers(
      .unknownTokens, rows: shards, row: [streamCount], in: 0...most)
    columns.longestSideOffsets = try numbers(
      .longestSideOffsets, rows: shards + 1, in: 0...Int.max >> 1)
    columns.longestSides = try lengths(.longestSides, rows: nil)
    columns.longestSideCounts = try lengths(
      .longestSideCounts, rows: columns.longestSides.count)
    let counts = try numbers(.lengthCounts, rows: nil, in: 1...Int.max >> 1)
    let rows = try lengths(.lengths, rows: counts.count, row: [streamCount])
    columns.lengths = LengthTable(
      rows: counts.enumerated().map { index, count in
        var lengths = LengthTable.Lengths()
        for stream in 0..<streamCount { lengths[stream] = rows[index * streamCount + stream] }
        return .init(lengths: lengths, count: count)
      })
    if let problem = columns.problem(summary, streamCount: streamCount) {
      throw Failure(
        .badData, "\(path): \(split.rawValue): \(problem); copy or prepare the data again")
    }
    return columns
  }
}

extension DatasetIndex.SplitIndex {
  /// What contradicts itself.
  ///
  /// Precondition: every count of a shard is within `shardCountLimit`, the number of shards within
  /// `shardLimit`: their sums do not overflow.
  fileprivate func problem(_ summary: SplitSummary, streamCount: Int) -> String? {
    let totals = (0..<streamCount).map { tokenCount(stream: $0, of: streamCount) }
    guard itemCount == summary.items, totals == summary.tokens else {
      return "expected the counts of its shards to add up to those of the description"
    }
    for shard in digests.indices {
      let row = shard * streamCount..<(shard + 1) * streamCount
      guard tokens[row].allSatisfy({ $0 >= items[shard] }),
        zip(unknownTokens[row], tokens[row]).allSatisfy({ $0 <= $1 })
      else { return "shard \(shard): expected a token for each item, and no more unknown ones" }
    }
    return longestSideProblem ?? lengthProblem(totals)
  }

  private var longestSideProblem: String? {
    let refusal = "expected items by their longest side, ascending, that add up to the shard's"
    guard longestSideOffsets.first == 0, longestSideOffsets.last == longestSides.count,
      zip(longestSideOffsets, longestSideOffsets.dropFirst()).allSatisfy({ $0 < $1 })
    else { return refusal }
    for shard in digests.indices {
      let range = longestSideOffsets[shard]..<longestSideOffsets[shard + 1]
      let sides = longestSides[range]
      guard zip(sides, sides.dropFirst()).allSatisfy({ $0 < $1 }),
        longestSideCounts[range].reduce(0, { $0 + Int($1) }) == items[shard]
      else { return "shard \(shard): \(refusal)" }
    }
    return nil
  }

  /// - Parameter totals: tokens of all items by stream.
  private func lengthProblem(_ totals: [Int]) -> String? {
    let refusal = "expected items by their lengths, ascending, that add up to the split's"
    let rows = lengths.rows
    guard zip(rows, rows.dropFirst()).allSatisfy({ LengthTable.precedes($0.lengths, $1.lengths) })
    else { return refusal }
    let all = itemCount
    var (items, sums) = (0, totals.map { _ in 0 })
    for row in rows {
      guard row.count <= all - items else { return refusal }
      items += row.count
      for stream in totals.indices {
        let (tokens, overflow) = row.count.multipliedReportingOverflow(
          by: Int(row.lengths[stream]))
        guard !overflow, tokens <= totals[stream] - sums[stream] else { return refusal }
        sums[stream] += tokens
      }
    }
    guard items == all, sums == totals else { return refusal }
    var sides: [Int32: Int] = [:]
    for (index, length) in longestSides.enumerated() {
      sides[length, default: 0] += Int(longestSideCounts[index])
    }
    let expected = Dictionary(
      uniqueKeysWithValues: lengths.longestSides.map { ($0.length, $0.count) })
    return sides == expected ? nil : "\(refusal), as those of its shards do"
  }
}
