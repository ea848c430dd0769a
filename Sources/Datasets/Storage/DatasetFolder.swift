import Core

/// A prepared folder: its description, its tokenizer and its held-out text. What needs shards, too,
/// opens a `Dataset`.
package struct DatasetFolder: Sendable {
  package let path: String
  package let description: DatasetDescription
  package let tokenizer: Tokenizer

  /// Opens a folder and checks that description and tokenizer are there and unchanged; texts and
  /// shards are checked when they are read.
  ///
  /// Throws: `Failure`: .missingInput for a missing folder, description or tokenizer; .badData for
  /// one that is damaged or of another dataset.
  package init(path: String) throws(Failure) {
    self.path = path
    let descriptionPath = "\(path)/\(DatasetManifest.fileName)"
    description = try DatasetDescription(
      decoding: try Self.bytes(of: descriptionPath, limit: DescriptionText.byteLimit),
      path: descriptionPath)
    let expected = description.tokenizer
    let tokenizerPath = "\(path)/\(expected.file)"
    tokenizer = try Tokenizer(
      try Self.bytes(of: tokenizerPath, limit: TokenizerModel.byteLimit), origin: tokenizerPath)
    guard "\(tokenizer.digest)" == expected.digest,
      tokenizer.vocabularySize == expected.vocabularySize
    else {
      throw Failure(
        .badData,
        "\(tokenizerPath): expected the tokenizer with XXH3 \(escaped(expected.digest)) and"
          + " \(expected.vocabularySize) pieces, found \(tokenizer.digest) and"
          + " \(tokenizer.vocabularySize); it belongs to another dataset"
      )
    }
  }

  package func pairCount(of split: Split) -> Int { description.splits[split]?.items ?? 0 }

  /// Held-out text as it was before tokenization: pair i is pair i of the split.
  ///
  /// Throws: `Failure`: .missingInput, or .badData for text that was changed.
  package func texts(of split: Split) throws(Failure) -> [TextPair] {
    let entries = description.splits[split]?.texts ?? []
    guard entries.count == 2 else {
      throw Failure(
        .badData,
        "\(path): expected text of the \(split.rawValue) pairs, found none; prepare the data with"
          + " such pairs")
    }
    let paths = entries.map { "\(path)/\($0.file)" }
    let digests = Dictionary(zip(paths, entries.map(\.digest)), uniquingKeysWith: { $1 })
    let texts = ParallelText(sourcePath: paths[0], targetPath: paths[1])
    return try texts.pairs { (file: String) throws(Failure) in
      let bytes = try Self.bytes(of: file, limit: Self.textByteLimit)
      // Before each line costs memory of its own.
      let lineCount = bytes.count { $0 == UInt8(ascii: "\n") }
      guard lineCount == pairCount(of: split), lineCount <= Self.textLineLimit else {
        throw Failure(
          .badData,
          "\(file): expected \(pairCount(of: split)) lines, one for each pair and at most"
            + " \(Self.textLineLimit), found \(lineCount)")
      }
      guard digests[file] == "\(Digest(of: bytes))" else {
        throw Failure(
          .badData,
          "\(file): expected the text with XXH3 \(digests[file] ?? ""), found"
            + " \(Digest(of: bytes)); it was changed, prepare the data again")
      }
      return bytes
    }
  }

  /// The file of a shard.
  package func path(ofShard index: Int, of split: Split) -> String {
    let name: String
    if case .listed(let entries) = description.shards {
      name = entries[split]?[index].file ?? ""
    } else {
      name = ShardFormat.fileName(index, of: split)
    }
    return "\(path)/\(name)"
  }

  /// Names the first file of a shard that is not there.
  ///
  /// Cost: lists the folder, whatever the number of shards.
  /// Throws: `Failure` (.missingInput).
  package func requireShardFiles() throws(Failure) {
    let names = Set(try FileSystem.names(in: path))
    for split in Split.allCases {
      for shard in 0..<(description.splits[split]?.shards ?? 0) {
        let file = self.path(ofShard: shard, of: split)
        guard names.contains(FileSystem.name(of: file)) else {
          throw Failure(.missingInput, "\(file): there is no such shard; copy the dataset again")
        }
      }
    }
  }

  /// The index that the folder has; nil in one of version 1.
  ///
  /// Throws: `Failure`: .missingInput, or .badData when it is damaged or contradicts itself.
  package func storedIndex() throws(Failure) -> DatasetIndex? {
    guard case .indexed(let entry, let contentDigest) = description.shards else { return nil }
    let file = "\(path)/\(entry.file)"
    let bytes = try Self.bytes(of: file, limit: IndexFile.byteLimit)
    guard bytes.count == entry.byteCount, "\(Digest(of: bytes))" == entry.digest else {
      throw Failure(
        .badData,
        "\(file): expected \(entry.byteCount) bytes with XXH3 \(escaped(entry.digest)), found"
          + " \(bytes.count) with \(Digest(of: bytes)); copy or prepare the data again")
    }
    let index = try DatasetIndex(
      IndexFile(bytes: bytes, arrays: entry.arrays), streams: description.streams,
      splits: description.splits, path: file)
    let found = index.contentDigest(
      kind: description.kind, tokenizerDigest: description.tokenizer.digest)
    guard found == contentDigest else {
      throw Failure(
        .badData,
        "\(path)/\(DatasetManifest.fileName): expected the content digest \(found) of tokenizer and"
          + " shards, found \(contentDigest); copy or prepare the data again")
    }
    return index
  }

  /// What the file of a shard must be, in a folder that lists them.
  static func expectation(_ entry: DatasetManifest.ShardEntry) -> ShardExpectation? {
    Digest(hexadecimal: entry.digest).map {
      ShardExpectation(
        digest: $0, byteCount: entry.byteCount, items: entry.pairs,
        tokens: [entry.sourceTokens, entry.targetTokens])
    }
  }

  /// Whether an index has the shards that the description lists, file by file.
  func lists(_ index: DatasetIndex) -> Bool {
    guard case .listed(let entries) = description.shards else { return false }
    return Split.allCases.allSatisfy { split in
      let listed = entries[split] ?? []
      return listed.count == index[split].shardCount
        && listed.indices.allSatisfy {
          Self.expectation(listed[$0]) == index[split].expectation(shard: $0)
        }
    }
  }

  /// Makes an index of the shards as they are.
  ///
  /// - Parameters:
  ///   - expected: what their files must be; nil for what the description lists.
  ///   - progress: hears how many shards are read, and of how many.
  /// Cost: reads every shard once.
  /// Throws: `Failure`: .missingInput, or .badData for one that is damaged or of another dataset.
  package func readIndex(
    expecting expected: DatasetIndex? = nil, progress: (Int, Int) -> Void = { _, _ in }
  ) throws(Failure) -> DatasetIndex {
    var builder = DatasetIndexBuilder(streams: description.streams)
    let total = description.splits.values.reduce(0) { $0 + $1.shards }
    var done = 0
    for split in Split.allCases {
      for shard in 0..<(description.splits[split]?.shards ?? 0) {
        var expectation = expected.map { $0[split].expectation(shard: shard) }
        if case .listed(let entries) = description.shards, expectation == nil {
          expectation = entries[split].flatMap { Self.expectation($0[shard]) }
        }
        guard let expectation else { preconditionFailure("a folder has a list or an index") }
        let content = try reader(shard, of: split, expectation).content()
        builder.append(
          ShardSummary(
            of: content, streams: description.streams, digest: expectation.digest,
            byteCount: expectation.byteCount), to: split)
        done += 1
        progress(done, total)
      }
    }
    return builder.index()
  }

  func reader(
    _ shard: Int, of split: Split, _ expectation: ShardExpectation
  ) throws(Failure) -> ShardReader {
    try ShardReader(
      path: path(ofShard: shard, of: split), expectation, split: split,
      streams: description.streams, tokenizer: description.tokenizer)
  }

  /// A description, a tokenizer or a text: a regular file, so that a folder of unknown origin
  /// cannot make its reader read anything else, of a size that somebody has prepared.
  private static func bytes(of path: String, limit: Int) throws(Failure) -> [UInt8] {
    try FileSystem.readAll(path, limit: limit, followsLinks: false)
  }

  private static let textByteLimit = 64 << 20
  private static let textLineLimit = 1 << 22
}
