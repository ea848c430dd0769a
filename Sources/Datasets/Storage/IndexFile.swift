import Core
import HDF5

/// An index as bytes: an HDF5 file of contiguous arrays, and where in it they are, so that its
/// readers need no libhdf5.
package struct IndexFile: Sendable {
  /// One array of the file.
  package struct StoredArray: Sendable, Equatable, Codable {
    /// Its path in the file.
    package var name: String
    /// As NumPy calls it; little-endian.
    package var type: String
    package var shape: [Int]
    /// Of the first element in the file.
    package var byteOffset: Int
  }

  package static let fileName = "index.h5"
  /// More than a thousand million items have in shards of the usual size.
  static let byteLimit = 256 << 20

  package var bytes: [UInt8]
  package var arrays: [StoredArray]

  /// What `dataset.json` has of it.
  package struct Entry: Sendable, Equatable, Codable {
    package var file: String
    /// XXH3-128 of the file, 32 hexadecimal digits.
    package var digest: String
    package var byteCount: Int
    package var arrays: [StoredArray]
  }

  package var entry: Entry {
    Entry(
      file: Self.fileName, digest: "\(Digest(of: bytes))", byteCount: bytes.count, arrays: arrays)
  }

  package init(bytes: [UInt8], arrays: [StoredArray]) {
    self.bytes = bytes
    self.arrays = arrays
  }

  /// - Parameter path: where it will lie. No two of one path are made at a time: to libhdf5 they
  ///   are one file, also in memory.
  /// Throws: `Failure(.badData)` for more than its readers take.
  package init(_ index: DatasetIndex, path: String) throws(Failure) {
    var writer = try IndexWriter(path: path)
    for split in Split.allCases where index[split].shardCount > 0 {
      try writer.write(index[split], split, streamCount: index.streams.count)
    }
    (bytes, arrays) = try writer.finish()
    guard bytes.count <= Self.byteLimit,
      index.splits.values.allSatisfy({ $0.shardCount <= DatasetIndex.shardLimit })
    else {
      throw Failure(
        .badData,
        "\(path): would have \(bytes.count) bytes, at most \(Self.byteLimit) and"
          + " \(DatasetIndex.shardLimit) shards a split are read; ask for fewer shards with a"
          + " larger --shard-pairs")
    }
  }

  /// The arrays of a split.
  enum Name: String, CaseIterable {
    case digests = "shards/digest"
    case byteCounts = "shards/byte_count"
    case items = "shards/items"
    case tokens = "shards/tokens"
    case unknownTokens = "shards/unknown_tokens"
    case contentDigests = "shards/content_digest"
    case longestSideOffsets = "longest_side/offsets"
    case longestSides = "longest_side/length"
    case longestSideCounts = "longest_side/count"
    case lengths = "lengths/by_stream"
    case lengthCounts = "lengths/count"

    func path(of split: Split) -> String { "/\(split.rawValue)/\(rawValue)" }
  }
}

private struct IndexWriter: ~Copyable {
  private let file: File
  private var arrays: [IndexFile.StoredArray] = []

  init(path: String) throws(Failure) { file = try File.createInMemory(named: path) }

  mutating func write(
    _ columns: DatasetIndex.SplitIndex, _ split: Split, streamCount: Int
  ) throws(Failure) {
    let (shards, rows) = (columns.shardCount, columns.lengths.rows)
    func name(_ name: IndexFile.Name) -> String { name.path(of: split) }
    func integers(_ numbers: [Int]) -> [Int64] { numbers.map { Int64($0) } }
    try write(columns.digests.flatMap(\.bytes), [shards, Digest.byteCount], name(.digests))
    try write(integers(columns.byteCounts), [shards], name(.byteCounts))
    try write(integers(columns.items), [shards], name(.items))
    try write(integers(columns.tokens), [shards, streamCount], name(.tokens))
    try write(integers(columns.unknownTokens), [shards, streamCount], name(.unknownTokens))
    try write(
      columns.contentDigests.flatMap(\.bytes), [shards, Digest.byteCount], name(.contentDigests))
    try write(integers(columns.longestSideOffsets), [shards + 1], name(.longestSideOffsets))
    try write(columns.longestSides, [columns.longestSides.count], name(.longestSides))
    try write(
      columns.longestSideCounts, [columns.longestSideCounts.count], name(.longestSideCounts))
    try write(
      rows.flatMap { row in (0..<streamCount).map { row.lengths[$0] } },
      [rows.count, streamCount], name(.lengths))
    try write(rows.map { Int64($0.count) }, [rows.count], name(.lengthCounts))
  }

  private mutating func write<T: Element>(
    _ values: [T], _ shape: [Int], _ name: String
  ) throws(Failure) {
    try file.write(values, shape: shape, to: name)
    let dataset = try file.dataset(name)
    guard let offset = dataset.offset else {
      throw Failure(.internal, "\(file.path): \(name): has no place in the file")
    }
    arrays.append(
      IndexFile.StoredArray(
        name: name, type: "\(dataset.type)", shape: shape, byteOffset: offset))
  }

  consuming func finish() throws(Failure) -> ([UInt8], [IndexFile.StoredArray]) {
    let arrays = arrays
    return (try file.closeAndReturnImage(), arrays)
  }
}
