import Core

/// Where the lines of texts begin, so that blocks of them can be read by whoever is free.
///
/// Files are counted in ranges of bytes, each by one task, which also notes every 1024th line.
struct LineTable {
  /// Pairs of a block.
  static let blockPairs = 16_384
  private static let rangeByteCount = 8 << 20
  private static let linesBetweenMarks = 1024

  /// One range of a file.
  private struct Range: Sendable {
    var file: TextFile
    var bytes: Swift.Range<Int>
    var isLast: Bool
  }

  /// What was counted in a range.
  struct Count: Codable, Sendable {
    var newlines = 0
    /// Where every 1024th line begins.
    var marks: [Int] = []
    /// Whether there is a CR elsewhere than at the very end of the file.
    var hasInnerReturn = false
    var endsInNewline = false
  }

  /// The lines of one file.
  private struct File {
    var name: String
    var byteCount: Int
    var counts: [Count]

    var lineCount: Int {
      let newlines = counts.reduce(0) { $0 + $1.newlines }
      return byteCount == 0 || counts.last?.endsInNewline == true ? newlines : newlines + 1
    }

    /// Where a line begins, with what precedes it in its range to be skipped.
    func place(of line: Int) -> LinePlace {
      var before = 0
      for (range, count) in counts.enumerated() {
        guard line > before + count.newlines else {
          let start = range * LineTable.rangeByteCount
          let (mark, skip) = (line - before).quotientAndRemainder(
            dividingBy: LineTable.linesBetweenMarks)
          return LinePlace(offset: mark == 0 ? start : count.marks[mark - 1], skip: skip)
        }
        before += count.newlines
      }
      return LinePlace(offset: byteCount)
    }
  }

  /// Cuts texts into blocks; `firstIndex` is the number of the first pair.
  ///
  /// Collective. Throws: `Failure` (.badData) for files of unequal line counts, lines that end with
  /// CR alone and UTF-16; .missingInput.
  static func blocks(
    of texts: ArraySlice<PairedText>, firstIndex: Int, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> [Block] {
    let files = texts.flatMap { [$0.source, $0.target] }
    let byteCounts = try team.onFirst { (_) throws(Failure) -> [Int] in
      var byteCounts: [Int] = []
      for file in files { byteCounts.append(try FileSystem.byteCount(of: file.path)) }
      return byteCounts
    }
    var ranges: [Range] = []
    for (file, byteCount) in zip(files, byteCounts) {
      for start in stride(from: 0, to: byteCount, by: rangeByteCount) {
        let end = min(start + rangeByteCount, byteCount)
        ranges.append(Range(file: file, bytes: start..<end, isLast: end == byteCount))
      }
    }
    let work = ranges
    var counts = try team.run(
      StageProgress("counting lines", ranges.map(\.bytes.count), say: say)
    ) { (task, _) throws(Failure) -> Count in try count(work[task]) }[...]
    var tables: [File] = []
    for (file, byteCount) in zip(files, byteCounts) {
      let rangeCount = (byteCount + rangeByteCount - 1) / rangeByteCount
      tables.append(
        File(name: file.name, byteCount: byteCount, counts: Array(counts.prefix(rangeCount))))
      counts = counts.dropFirst(rangeCount)
    }
    for table in tables { try checkLineEnds(table) }
    var blocks: [Block] = []
    var index = firstIndex
    for (number, text) in texts.indices.enumerated() {
      let (source, target) = (tables[2 * number], tables[2 * number + 1])
      guard source.lineCount == target.lineCount else {
        throw Failure(
          .badData,
          "\(source.name) and \(target.name): expected as many lines in both, found"
            + " \(source.lineCount) and \(target.lineCount)")
      }
      for line in stride(from: 0, to: source.lineCount, by: blockPairs) {
        let count = min(blockPairs, source.lineCount - line)
        blocks.append(
          Block(
            text: text, firstLine: line, count: count, firstIndex: index,
            source: source.place(of: line), target: target.place(of: line),
            byteCount: (source.byteCount + target.byteCount) * count / source.lineCount))
        index += count
      }
    }
    return blocks
  }

  private static func count(_ range: Range) throws(Failure) -> Count {
    let file = try OpenFile(reading: range.file.path)
    var count = Count()
    var offset = range.bytes.lowerBound
    while offset < range.bytes.upperBound {
      let bytes = try file.read(
        byteCount: min(LineReader.bufferByteCount, range.bytes.upperBound - offset), at: offset)
      if offset == 0, let encoding = otherEncoding(bytes) {
        throw Failure(.badData, TextFile.refusal(of: encoding, name: range.file.name))
      }
      var rest = bytes[...]
      while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
        count.newlines += 1
        if count.newlines.isMultiple(of: linesBetweenMarks) { count.marks.append(offset + end + 1) }
        rest = rest[(end + 1)...]
      }
      offset += bytes.count
      let isEnd = range.isLast && offset == range.bytes.upperBound
      if isEnd { count.endsInNewline = bytes.last == UInt8(ascii: "\n") }
      if !count.hasInnerReturn {
        // The CR of a last line is its end, with a line feed or without.
        let end = isEnd ? bytes.dropLast(count.endsInNewline ? 2 : 1) : bytes[...]
        count.hasInnerReturn = end.contains(UInt8(ascii: "\r"))
      }
    }
    return count
  }

  /// One line with others in it would be left out for its length, or learned from.
  private static func checkLineEnds(_ file: File) throws(Failure) {
    guard file.lineCount == 1, file.counts.contains(where: \.hasInnerReturn) else { return }
    throw Failure(
      .badData,
      "\(file.name): expected lines that end with LF or CR LF, found CR alone; convert it, for"
        + " example with tr '\\r' '\\n'")
  }

  /// The name of the encoding when the beginning of a file is that of UTF-16 or UTF-32, with its
  /// mark or with the zeros of Latin text; nil for what may be UTF-8.
  static func otherEncoding(_ bytes: [UInt8]) -> String? {
    let start = bytes.prefix(1024)
    if start.starts(with: [0xFF, 0xFE, 0, 0]) || start.starts(with: [0, 0, 0xFE, 0xFF]) {
      return "UTF-32"
    }
    if start.starts(with: [0xFF, 0xFE]) || start.starts(with: [0xFE, 0xFF]) { return "UTF-16" }
    var zeros = [0, 0]
    for (index, byte) in start.enumerated() where byte == 0 { zeros[index & 1] += 1 }
    let most = max(2, start.count / 8)
    guard max(zeros[0], zeros[1]) >= most, min(zeros[0], zeros[1]) * 8 < max(zeros[0], zeros[1])
    else { return nil }
    return zeros[0] > zeros[1] ? "UTF-16BE" : "UTF-16LE"
  }
}
