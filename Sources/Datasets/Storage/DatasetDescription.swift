import Core

/// What a split holds.
package struct SplitSummary: Sendable, Equatable, Codable {
  package var items: Int
  /// By stream, without begin and end.
  package var tokens: [Int]
  package var shards: Int
  /// A file of held-out text a stream; none for training.
  package var texts: [DatasetManifest.TextEntry]

  /// Whether such counts can be; then they can be added up and multiplied.
  func isPlausible(streamCount: Int) -> Bool {
    guard (0...DatasetIndex.shardLimit).contains(shards) else { return false }
    let limit = shards * DatasetIndex.shardCountLimit
    return (0...limit).contains(items) && tokens.count == streamCount
      && tokens.allSatisfy { (items...limit).contains($0) }
  }
}

/// What `dataset.json` says of a prepared folder, whichever its version.
package struct DatasetDescription: Sendable, Equatable {
  package static let currentVersion = 2

  /// Where the digests and counts of the shards are.
  package enum Shards: Sendable, Equatable {
    /// In the description (version 1).
    case listed([Split: [DatasetManifest.ShardEntry]])
    /// In a file beside it.
    case indexed(IndexFile.Entry, contentDigest: Digest)
  }

  package var kind: DatasetKind
  package var languages: Languages
  package var tokenizer: DatasetManifest.TokenizerEntry
  package var splits: [Split: SplitSummary]
  package var counts: PairCounts
  /// Pieces a side may have; longer items were left out.
  package var maximumPieces: Int
  package var seed: UInt64
  package var provenance: [String]
  package var licenceNote: String
  /// What the dataset is called by: the digest of its description as version 1 writes it.
  package var digest: Digest
  package var shards: Shards

  package var streams: [String] { kind.streams }
  package var version: Int {
    if case .listed = shards { 1 } else { Self.currentVersion }
  }
}

extension DatasetDescription {
  /// `dataset.json` of version 2.
  private struct Text: Codable {
    var format = DescriptionText.format
    var formatVersion = currentVersion
    var kind: String
    var streams: [String]
    var languages: Languages
    var tokenizer: DatasetManifest.TokenizerEntry
    var splits: [String: SplitSummary]
    var counts: PairCounts
    var maximumPieces: Int
    var seed: UInt64
    var provenance: [String]
    var licenceNote: String
    var datasetDigest: String
    var contentDigest: String
    var index: IndexFile.Entry
  }

  /// The description of a folder with an index.
  package init(_ manifest: DatasetManifest, _ index: IndexFile, contentDigest: Digest)
    throws(Failure)
  {
    self.init(manifest, digest: try manifest.digest())
    shards = .indexed(index.entry, contentDigest: contentDigest)
  }

  private init(_ manifest: DatasetManifest, digest: Digest) {
    kind = .pairs
    languages = manifest.languages
    tokenizer = manifest.tokenizer
    splits = [:]
    var listed: [Split: [DatasetManifest.ShardEntry]] = [:]
    for split in Split.allCases {
      guard let entry = manifest.splits[split.rawValue] else { continue }
      splits[split] = SplitSummary(
        items: entry.pairs, tokens: [entry.sourceTokens, entry.targetTokens],
        shards: entry.shards.count, texts: entry.texts)
      listed[split] = entry.shards
    }
    counts = manifest.counts
    maximumPieces = manifest.maximumPieces
    seed = manifest.seed
    provenance = manifest.provenance
    licenceNote = manifest.licenceNote
    self.digest = digest
    shards = .listed(listed)
  }

  /// The bytes of the file, of a folder with an index.
  ///
  /// Throws: `Failure(.badData)` for more than its readers take.
  package func encoded() throws(Failure) -> [UInt8] {
    guard case .indexed(let index, let contentDigest) = shards else {
      preconditionFailure("folders of version 1 are never written")
    }
    let bytes = try DescriptionText.encode(
      Text(
        kind: kind.rawValue, streams: streams, languages: languages, tokenizer: tokenizer,
        splits: Dictionary(uniqueKeysWithValues: splits.map { ($0.key.rawValue, $0.value) }),
        counts: counts, maximumPieces: maximumPieces, seed: seed, provenance: provenance,
        licenceNote: licenceNote, datasetDigest: "\(digest)", contentDigest: "\(contentDigest)",
        index: index))
    guard bytes.count <= DescriptionText.byteLimit else {
      throw Failure(
        .badData,
        "\(DatasetManifest.fileName): would have \(bytes.count) bytes, at most"
          + " \(DescriptionText.byteLimit) are read; name fewer sources")
    }
    return bytes
  }

  /// Throws: `Failure` (.badData) for anything but a description whose names stay in its folder and
  /// whose numbers are plausible.
  package init(decoding bytes: [UInt8], path: String) throws(Failure) {
    if try DescriptionText.version(of: bytes, path: path) == 1 {
      let manifest = try DatasetManifest(decoding: bytes, path: path)
      try Self.check(manifest, path: path)
      self.init(manifest, digest: Digest(of: bytes))
    } else {
      try self.init(
        try DescriptionText.decode(bytes, versions: Self.currentVersion, path: path), path)
    }
    try checkNames(path)
  }

  private init(_ text: Text, _ path: String) throws(Failure) {
    guard let kind = DatasetKind(rawValue: text.kind), text.streams == kind.streams else {
      throw Failure(
        .badData,
        "\(path): expected pairs with the streams source and target, found"
          + " \(escaped(text.kind)) with \(escaped(text.streams.joined(separator: ", ")))")
    }
    guard let digest = Digest(hexadecimal: text.datasetDigest),
      let contentDigest = Digest(hexadecimal: text.contentDigest),
      Digest(hexadecimal: text.index.digest) != nil, text.index.byteCount > 0
    else {
      throw Failure(.badData, "\(path): expected digests of 32 hexadecimal digits, found others")
    }
    self.kind = kind
    languages = text.languages
    tokenizer = text.tokenizer
    splits = [:]
    for (name, summary) in text.splits.sorted(by: { $0.key < $1.key }) {
      guard let split = Split(rawValue: name) else { throw Self.unknownSplit(name, path) }
      // Before anything is added up or allocated.
      guard summary.isPlausible(streamCount: kind.streams.count) else {
        throw Failure(
          .badData,
          "\(path): \(name): expected at most \(DatasetIndex.shardLimit) shards of at most"
            + " \(DatasetIndex.shardCountLimit) items and tokens, found more, or fewer tokens than"
            + " items")
      }
      splits[split] = summary
    }
    counts = text.counts
    maximumPieces = text.maximumPieces
    seed = text.seed
    provenance = text.provenance
    licenceNote = text.licenceNote
    self.digest = digest
    shards = .indexed(text.index, contentDigest: contentDigest)
  }

  private static func unknownSplit(_ name: String, _ path: String) -> Failure {
    Failure(
      .badData, "\(path): expected splits train, valid and test, found \(escaped(name))")
  }

  /// The shards one description may list.
  private static let listedShardLimit = 1 << 16

  private static func check(_ manifest: DatasetManifest, path: String) throws(Failure) {
    let limit = DatasetIndex.shardCountLimit
    // Before anything is added up.
    let all = manifest.splits.values.flatMap(\.shards)
    guard all.count <= listedShardLimit,
      all.allSatisfy({
        [$0.pairs, $0.sourceTokens, $0.targetTokens].allSatisfy((0...limit).contains)
      })
    else {
      throw Failure(
        .badData,
        "\(path): expected at most \(listedShardLimit) shards of at most \(limit) tokens a "
          + "side, found more")
    }
    for (name, split) in manifest.splits.sorted(by: { $0.key < $1.key }) {
      guard Split(rawValue: name) != nil else { throw unknownSplit(name, path) }
      guard split == .init(shards: split.shards, texts: split.texts) else {
        throw Failure(
          .badData,
          "\(path): expected the counts of \(name) to be the sums over its shards, found"
            + " others")
      }
      for shard in split.shards {
        let file = escaped(shard.file)
        guard shard.pairs > 0, shard.sourceTokens >= shard.pairs, shard.targetTokens >= shard.pairs
        else {
          throw Failure(.badData, "\(path): \(file): expected pairs with tokens, found none")
        }
        guard Digest(hexadecimal: shard.digest) != nil, shard.byteCount > 0 else {
          throw Failure(
            .badData, "\(path): \(file): expected a size and 32 hexadecimal digits, found others")
        }
      }
    }
  }

  private func checkNames(_ path: String) throws(Failure) {
    var files = splits.values.flatMap(\.texts).map(\.file) + [tokenizer.file]
    switch shards {
    case .listed(let shards): files += shards.values.flatMap { $0 }.map(\.file)
    case .indexed(let index, _): files.append(index.file)
    }
    for file in files where file.utf8.contains(UInt8(ascii: "/")) || ["", ".", ".."].contains(file)
    {
      throw Failure(.badData, "\(path): expected names of files beside it, found \(escaped(file))")
    }
  }
}
