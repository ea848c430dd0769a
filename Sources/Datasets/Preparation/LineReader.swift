import Core

/// The lines of a file, one after another, from any place in it.
struct LineReader: ~Copyable {
  private let file: OpenFile
  private let byteCount: Int
  private var offset: Int
  private var buffer: [UInt8]
  /// What of `buffer` has not been given out.
  private var rest = 0..<0
  /// Before the first line.
  private var linesToSkip: Int

  static let bufferByteCount = 128 << 10
  private static let newline = UInt8(ascii: "\n")

  /// Throws: `Failure` (.missingInput, .badData, .inputOutput).
  init(_ path: String, at place: LinePlace) throws(Failure) {
    let opened = try OpenFile(reading: path)
    byteCount = try opened.byteCount()
    file = opened
    offset = place.offset
    buffer = [UInt8](repeating: 0, count: Self.bufferByteCount)
    linesToSkip = place.skip
  }

  /// Replaces `line` by the next one, without its LF or CR LF; a last one need not end.
  ///
  /// Returns: false at the end.
  mutating func next(into line: inout [UInt8]) throws(Failure) -> Bool {
    while linesToSkip > 0 {
      linesToSkip -= 1
      guard try readLine(into: &line) else { return false }
    }
    return try readLine(into: &line)
  }

  private mutating func readLine(into line: inout [UInt8]) throws(Failure) -> Bool {
    line.removeAll(keepingCapacity: true)
    if rest.isEmpty, try !fill() { return false }
    while true {
      if let end = buffer[rest].firstIndex(of: Self.newline) {
        line.append(contentsOf: buffer[rest.lowerBound..<end])
        rest = end + 1..<rest.upperBound
        break
      }
      line.append(contentsOf: buffer[rest])
      rest = rest.upperBound..<rest.upperBound
      guard try fill() else { break }
    }
    if line.last == UInt8(ascii: "\r") { line.removeLast() }
    return true
  }

  private mutating func fill() throws(Failure) -> Bool {
    let count = min(buffer.count, byteCount - offset)
    guard count > 0 else { return false }
    let start = offset
    try buffer.withUnsafeMutableBytes { raw in
      Result { () throws(Failure) in
        try file.read(into: UnsafeMutableRawBufferPointer(rebasing: raw[..<count]), at: start)
      }
    }.get()
    offset += count
    rest = 0..<count
    return true
  }
}

/// Where a line begins: so many line feeds after an offset.
struct LinePlace: Codable, Sendable {
  var offset = 0
  var skip = 0
}

/// A run of pairs of lines, which one task works on.
struct Block: Codable, Sendable {
  /// Which of the texts.
  var text: Int
  /// Of its lines the first, from 0.
  var firstLine: Int
  /// Pairs.
  var count: Int
  /// Of all pairs of the preparation, the number of the first.
  var firstIndex: Int
  var source: LinePlace
  var target: LinePlace
  /// About; for progress.
  var byteCount: Int
}

/// The pairs of lines of a block, one after another.
struct BlockReader: ~Copyable {
  private var sources: LineReader
  private var targets: LineReader
  private let block: Block
  private let text: PairedText
  /// The place of `pair` in the block; -1 before the first.
  private(set) var position = -1
  private var line: [UInt8] = []
  private(set) var pair = LinePair()

  init(_ block: Block, of text: PairedText) throws(Failure) {
    let sources = try LineReader(text.source.path, at: block.source)
    let targets = try LineReader(text.target.path, at: block.target)
    self.block = block
    self.text = text
    self.sources = sources
    self.targets = targets
  }

  /// Goes on to the next pair.
  ///
  /// Returns: false at the end of the block.
  /// Throws: `Failure` (.badData) for text that is not UTF-8, with file and line.
  mutating func next() throws(Failure) -> Bool {
    guard position + 1 < block.count else { return false }
    position += 1
    guard try sources.next(into: &line) else { throw ended(text.source) }
    guard pair.source.take(line) else { throw notUTF8(text.source) }
    guard try targets.next(into: &line) else { throw ended(text.target) }
    guard pair.target.take(line) else { throw notUTF8(text.target) }
    return true
  }

  /// Goes on without looking at the pair.
  mutating func skip() throws(Failure) {
    position += 1
    guard try sources.next(into: &line) else { throw ended(text.source) }
    guard try targets.next(into: &line) else { throw ended(text.target) }
  }

  private func notUTF8(_ file: TextFile) -> Failure {
    Failure(
      .badData,
      "\(file.place(block.firstLine + position)): expected UTF-8 text, found other bytes")
  }

  private func ended(_ file: TextFile) -> Failure {
    Failure(.badData, "\(file.name): became shorter while it was read; prepare again")
  }
}
