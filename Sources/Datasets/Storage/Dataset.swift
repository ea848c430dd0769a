import Core
import HDF5

/// A prepared folder: shards by split, the tokenizer they were made with, and what they hold.
package struct Dataset: Sendable {
  package static let tokenizerFileName = "tokenizer.model"

  package let path: String
  package let manifest: DatasetManifest
  package let tokenizer: Tokenizer
  /// Of the description, which names the digests of everything else: equal for equal datasets.
  package let digest: Digest

  /// Opens a folder and checks that description, tokenizer and shards are there and unchanged;
  /// texts are checked when they are read.
  ///
  /// Throws: `Failure`: .missingInput for a missing folder, description, tokenizer or shard;
  /// .badData for one that is truncated, damaged or of another dataset.
  /// Cost: reads every shard once.
  package init(path: String) throws(Failure) {
    self.path = path
    let manifestPath = "\(path)/\(DatasetManifest.fileName)"
    let bytes = try Self.bytes(of: manifestPath, limit: DatasetManifest.byteLimit)
    manifest = try DatasetManifest(decoding: bytes, path: manifestPath)
    digest = Digest(of: bytes)
    try Self.check(manifest, path: manifestPath)
    let tokenizerPath = "\(path)/\(manifest.tokenizer.file)"
    tokenizer = try Tokenizer(
      try Self.bytes(of: tokenizerPath, limit: TokenizerModel.byteLimit), origin: tokenizerPath)
    guard "\(tokenizer.digest)" == manifest.tokenizer.digest,
      tokenizer.vocabularySize == manifest.tokenizer.vocabularySize
    else {
      throw Failure(
        .badData,
        "\(path)/\(manifest.tokenizer.file): expected the tokenizer with XXH3"
          + " \(manifest.tokenizer.digest), found \(tokenizer.digest);"
          + " it belongs to another dataset"
      )
    }
    for split in Split.allCases {
      for index in shards(of: split).indices { _ = try shard(index, of: split) }
    }
  }

  package var vocabularySize: Int { manifest.tokenizer.vocabularySize }

  package func pairCount(of split: Split) -> Int {
    manifest.splits[split.rawValue]?.pairs ?? 0
  }

  package func shards(of split: Split) -> [DatasetManifest.ShardEntry] {
    manifest.splits[split.rawValue]?.shards ?? []
  }

  /// Held-out text as it was before tokenization: pair i is pair i of the split.
  ///
  /// Throws: `Failure`: .missingInput, or .badData for text that was changed.
  package func texts(of split: Split) throws(Failure) -> [TextPair] {
    let entries = manifest.splits[split.rawValue]?.texts ?? []
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

  /// The tokens of each pair of a shard as the model sees them: with one for end (or begin).
  package func lengths(shard index: Int, of split: Split) throws(Failure) -> [PairLength] {
    let shard = try shard(index, of: split)
    let source = try shard.offsets(.source)
    let target = try shard.offsets(.target)
    return (0..<source.count - 1).map { (pair: Int) -> PairLength in
      let sourceCount = source[pair + 1] - source[pair]
      let targetCount = target[pair + 1] - target[pair]
      return PairLength(
        pair: PairReference(shard: Int32(index), index: Int32(pair)),
        source: Int32(sourceCount + 1), target: Int32(targetCount + 1))
    }
  }

  /// All pairs of a shard.
  package func content(shard index: Int, of split: Split) throws(Failure) -> ShardContent {
    let shard = try shard(index, of: split)
    return ShardContent(
      source: try shard.sequences(.source), target: try shard.sequences(.target))
  }

  private func shard(_ index: Int, of split: Split) throws(Failure) -> ShardReader {
    let entry = shards(of: split)[index]
    return try ShardReader(
      path: "\(path)/\(entry.file)", entry: entry, split: split, tokenizer: manifest.tokenizer)
  }

  /// A description, a tokenizer or a text: a regular file, so that a folder of unknown origin
  /// cannot make its reader read anything else, of a size that somebody has prepared.
  private static func bytes(of path: String, limit: Int) throws(Failure) -> [UInt8] {
    try FileSystem.readAll(path, limit: limit, followsLinks: false)
  }

  private static let textByteLimit = 64 << 20
  private static let textLineLimit = 1 << 22
  /// Pairs and tokens are counted in 32 bits within a shard.
  private static let shardCountLimit = Int(Int32.max) - 1
  private static let shardLimit = 1 << 16

  /// Names stay inside the folder and numbers are plausible.
  private static func check(_ manifest: DatasetManifest, path: String) throws(Failure) {
    // Before anything is added up.
    let all = manifest.splits.values.flatMap(\.shards)
    guard all.count <= shardLimit,
      all.allSatisfy({
        [$0.pairs, $0.sourceTokens, $0.targetTokens].allSatisfy((0...shardCountLimit).contains)
      })
    else {
      throw Failure(
        .badData,
        "\(path): expected at most \(shardLimit) shards of at most \(shardCountLimit) tokens a "
          + "side, found more")
    }
    for (name, split) in manifest.splits.sorted(by: { $0.key < $1.key }) {
      guard Split(rawValue: name) != nil else {
        throw Failure(.badData, "\(path): expected splits train, valid and test, found \(name)")
      }
      guard split == .init(shards: split.shards, texts: split.texts) else {
        throw Failure(
          .badData,
          "\(path): expected the counts of \(name) to be the sums over its shards, found"
            + " others")
      }
      for shard in split.shards {
        guard shard.pairs > 0, shard.sourceTokens >= shard.pairs, shard.targetTokens >= shard.pairs
        else {
          throw Failure(.badData, "\(path): \(shard.file): expected pairs with tokens, found none")
        }
      }
    }
    let splits = manifest.splits.values
    let files = splits.flatMap(\.shards).map(\.file) + splits.flatMap(\.texts).map(\.file)
    for file in files + [manifest.tokenizer.file]
    where file.contains("/") || file.isEmpty || file == ".." {
      throw Failure(.badData, "\(path): expected names of files beside it, found \(escaped(file))")
    }
  }
}
