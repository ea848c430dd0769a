import Core

/// A file of the staging folder that is written from its beginning to its end.
///
/// One thread at a time writes it.
final class OutputFile: @unchecked Sendable {
  private let file: OpenFile
  private var buffer: [UInt8] = []
  private var offset = 0

  private static let bufferByteCount = 32 << 10

  /// Throws: `Failure` (.cannotCreate).
  init(_ path: String) throws(Failure) { file = try OpenFile(creating: path) }

  var byteCount: Int { offset + buffer.count }

  func write(_ bytes: some Collection<UInt8>) throws(Failure) {
    buffer.append(contentsOf: bytes)
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  func writeLine(_ bytes: [UInt8]) throws(Failure) {
    buffer.append(contentsOf: bytes)
    buffer.append(UInt8(ascii: "\n"))
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Writes numbers as they lie in memory.
  func write<Number: BitwiseCopyable>(numbers: [Number]) throws(Failure) {
    numbers.withUnsafeBytes { buffer.append(contentsOf: $0) }
    if buffer.count >= Self.bufferByteCount { try flush() }
  }

  /// Puts everything into the file; call at the end.
  func flush() throws(Failure) {
    let place = offset
    try buffer.withUnsafeBytes { raw in
      Result { () throws(Failure) in try file.write(raw, at: place) }
    }.get()
    offset += buffer.count
    buffer.removeAll(keepingCapacity: true)
  }
}

/// A file of the staging folder that is read from its beginning to its end.
struct InputRun: ~Copyable {
  private let file: OpenFile
  private let byteCount: Int
  private var offset = 0
  private var buffer: [UInt8] = []
  private var position = 0

  init(_ path: String) throws(Failure) {
    let opened = try OpenFile(reading: path)
    byteCount = try opened.byteCount()
    file = opened
  }

  /// The next bytes.
  ///
  /// Throws: `Failure` (.badData) when there are not so many.
  mutating func bytes(_ count: Int) throws(Failure) -> ArraySlice<UInt8> {
    if buffer.count - position < count {
      buffer.removeFirst(position)
      position = 0
      let more = max(count - buffer.count, min(LineReader.bufferByteCount, byteCount - offset))
      buffer += try file.read(byteCount: more, at: offset)
      offset += more
    }
    position += count
    return buffer[position - count..<position]
  }

  /// The next number, as it lay in memory; nil at the end.
  mutating func number<Number: FixedWidthInteger & BitwiseCopyable>(
    _ type: Number.Type
  ) throws(Failure) -> Number? {
    guard position < buffer.count || offset < byteCount else { return nil }
    return try bytes(MemoryLayout<Number>.size).withUnsafeBytes {
      $0.loadUnaligned(as: Number.self)
    }
  }
}

/// Records of pairs in files by what decides where they go, so that all that might be equal lie in
/// one file that fits into memory.
///
/// Every thread of every rank writes files of its own. The order in a file is that of chance: who
/// reads sorts.
struct RecordFiles: Sendable {
  let folder: String
  let name: String
  let partitionCount: Int

  /// Records of so many pairs take about 32 MB.
  private static let partitionPairs = 1 << 20

  init(_ name: String, in folder: String, pairCount: Int, partitionsAMillion: Int = 1) {
    self.folder = folder
    self.name = name
    partitionCount =
      partitionsAMillion * max(1, (pairCount + Self.partitionPairs - 1) / Self.partitionPairs)
  }

  /// Which partition records of a digest are in.
  func partition(of digest: Digest) -> Int { Int(digest.high % UInt64(partitionCount)) }

  /// Whoever reads a partition needs the paths of all who wrote it.
  func paths(of partition: Int) throws(Failure) -> [String] {
    let prefix = "\(name).\(partition)."
    return try FileSystem.names(in: folder).filter { $0.hasPrefix(prefix) }
      .map { "\(folder)/\($0)" }
  }

  /// Forgets all records.
  func remove() throws(Failure) {
    for partition in 0..<partitionCount {
      for path in try paths(of: partition) { try FileSystem.removeFile(path) }
    }
  }

  /// Files that one thread writes.
  ///
  /// - Parameter writer: a name that no other has, in any round.
  func writer(_ writer: String) -> Writer { Writer(files: self, name: writer) }

  final class Writer: @unchecked Sendable {
    private let files: RecordFiles
    private let name: String
    private var outputs: [OutputFile?]

    fileprivate init(files: RecordFiles, name: String) {
      self.files = files
      self.name = name
      outputs = Array(repeating: nil, count: files.partitionCount)
    }

    /// The file for records of a partition.
    func output(_ partition: Int) throws(Failure) -> OutputFile {
      if let known = outputs[partition] { return known }
      let output = try OutputFile("\(files.folder)/\(files.name).\(partition).\(name)")
      outputs[partition] = output
      return output
    }

    /// Call at the end.
    func flush() throws(Failure) {
      for output in outputs { try output?.flush() }
      outputs = outputs.map { _ in nil }
    }
  }
}

/// What stands for a pair, or one side of it, where pairs are compared.
struct PairRecord: Comparable {
  var digest: Digest
  /// The number of the pair.
  var index: Int

  static func < (a: PairRecord, b: PairRecord) -> Bool {
    if a.digest.high != b.digest.high { return a.digest.high < b.digest.high }
    if a.digest.low != b.digest.low { return a.digest.low < b.digest.low }
    return a.index < b.index
  }

  var words: [UInt64] { [digest.high, digest.low, UInt64(index)] }
}

extension RecordFiles {
  /// All records of a partition, sorted.
  func records(of partition: Int) throws(Failure) -> [PairRecord] {
    let paths = try paths(of: partition)
    var byteCount = 0
    for path in paths { byteCount += try FileSystem.byteCount(of: path) }
    var records: [PairRecord] = []
    records.reserveCapacity(byteCount / 24)
    for path in paths {
      let file = try OpenFile(reading: path)
      let end = try file.byteCount()
      for offset in stride(from: 0, to: end, by: 24 << 12) {
        let bytes = try file.read(byteCount: min(24 << 12, end - offset), at: offset)
        bytes.withUnsafeBytes { raw in
          for place in stride(from: 0, to: raw.count, by: 24) {
            func word(_ number: Int) -> UInt64 {
              raw.loadUnaligned(fromByteOffset: place + 8 * number, as: UInt64.self)
            }
            records.append(
              PairRecord(digest: Digest(high: word(0), low: word(1)), index: Int(word(2))))
          }
        }
      }
    }
    records.sort()
    return records
  }
}
