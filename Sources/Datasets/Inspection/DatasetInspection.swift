import Core

/// What is in a prepared folder or one of its shards, for people and, encoded, for programs.
///
/// All texts are as stored; whoever prints them escapes them.
package struct DatasetInspection: Codable, Sendable {
  /// Counts of a split or a shard.
  package struct Part: Codable, Sendable {
    package var name: String
    package var shards: Int
    package var items: Int
    /// By stream, without begin and end.
    package var tokens: [Int]
    /// Of these, those for text the tokenizer does not know; nil where no index says it.
    package var unknownTokens: [Int]?
  }

  /// Items by their longest side.
  package struct Bar: Codable, Sendable, Equatable {
    /// Pieces of the longest side, without begin and end.
    package var from: Int
    package var to: Int
    package var items: Int
  }

  package var path: String
  package var formatVersion: Int
  package var kind: String
  package var streams: [String]
  package var languages: Languages
  package var digest: String
  /// nil where no index says it.
  package var contentDigest: String?
  package var tokenizerDigest: String
  package var vocabularySize: Int
  package var parts: [Part]
  /// What `lengths` and `samples` are of.
  package var lengthsOf: String
  package var lengths: [Bar]
  package var samplesOf: String
  /// Some items as text, by stream.
  package var samples: [[String]]
  package var counts: PairCounts
  package var maximumPieces: Int
  package var seed: UInt64
  package var provenance: [String]
  package var licenceNote: String

  private static let sampleCount = 10
  private static let barCount = 16

  /// The JSON form, keys sorted.
  package func encoded() throws(Failure) -> [UInt8] { try DescriptionText.encodeEscaped(self) }

  /// Looks into a folder or a shard.
  ///
  /// Cost: reads the index and one shard, whatever the size of the dataset.
  /// Throws: `Failure`: .missingInput, or .badData for what is damaged.
  package init(of target: DatasetTarget) throws(Failure) {
    switch target {
    case .folder(let path): try self.init(folder: path)
    case .shard(let path, let split, let shard):
      let folder = try DatasetFolder(path: path)
      let stored = try folder.storedIndex()
      self.init(folder, stored)
      try narrow(to: shard, of: split, in: folder, stored)
    }
  }

  private init(folder path: String) throws(Failure) {
    let folder = try DatasetFolder(path: path)
    let stored = try folder.storedIndex()
    self.init(folder, stored)
    let splits = folder.description.splits
    guard let first = Split.allCases.first(where: { splits[$0]?.shards ?? 0 > 0 }) else { return }
    let content = try folder.content(ofShard: 0, of: first, stored)
    try show(content, 0, of: first, in: folder)
    if let stored {
      lengthsOf = first.rawValue
      lengths = Self.bars(stored[first].lengths)
    }
  }

  /// Without lengths and samples.
  private init(_ folder: DatasetFolder, _ stored: DatasetIndex?) {
    let description = folder.description
    path = folder.path
    formatVersion = description.version
    kind = description.kind.rawValue
    streams = description.streams
    languages = description.languages
    digest = "\(description.digest)"
    contentDigest = stored.map { "\(Dataset(folder, $0).contentDigest)" }
    tokenizerDigest = description.tokenizer.digest
    vocabularySize = folder.tokenizer.vocabularySize
    let streamCount = description.streams.count
    parts = Split.allCases.compactMap { split in
      guard let summary = description.splits[split] else { return nil }
      let unknown = stored.map { index in
        (0..<streamCount).map { stream in
          stride(from: stream, to: index[split].unknownTokens.count, by: streamCount)
            .reduce(0) { $0 + index[split].unknownTokens[$1] }
        }
      }
      return Part(
        name: split.rawValue, shards: summary.shards, items: summary.items,
        tokens: summary.tokens, unknownTokens: unknown)
    }
    counts = description.counts
    maximumPieces = description.maximumPieces
    seed = description.seed
    provenance = description.provenance
    licenceNote = description.licenceNote
    (lengthsOf, lengths, samplesOf, samples) = ("", [], "", [])
  }

  /// Says of one shard what was said of all.
  private mutating func narrow(
    to shard: Int, of split: Split, in folder: DatasetFolder, _ stored: DatasetIndex?
  ) throws(Failure) {
    let expectation = try folder.expectation(ofShard: shard, of: split, stored)
    let content = try folder.content(ofShard: shard, of: split, stored)
    try show(content, shard, of: split, in: folder)
    let summary = ShardSummary(
      of: content, streams: streams, digest: expectation.digest, byteCount: expectation.byteCount)
    path = folder.path(ofShard: shard, of: split)
    contentDigest = "\(summary.contentDigest)"
    digest = "\(summary.digest)"
    parts = [
      Part(
        name: split.rawValue, shards: 1, items: summary.items, tokens: summary.tokens,
        unknownTokens: summary.unknownTokens)
    ]
  }

  /// Takes lengths and samples from a shard.
  private mutating func show(
    _ content: ShardContent, _ shard: Int, of split: Split, in folder: DatasetFolder
  ) throws(Failure) {
    samplesOf = FileSystem.name(of: folder.path(ofShard: shard, of: split))
    let count = min(Self.sampleCount, content.itemCount)
    for sample in 0..<count {
      // From everywhere: neighbours in a text are alike.
      let item = sample * content.itemCount / count
      var texts: [String] = []
      for stream in content.streams {
        let range = stream.offsets[item]..<stream.offsets[item + 1]
        texts.append(try folder.tokenizer.decode(Array(stream.tokens[range])))
      }
      samples.append(texts)
    }
    lengthsOf = samplesOf
    lengths = Self.bars(LengthTable(of: content))
  }

  /// Ranges of equal width, a power of two.
  private static func bars(_ table: LengthTable) -> [Bar] {
    let sides = table.longestSides
    guard let longest = sides.last.map({ Int($0.length) }) else { return [] }
    var width = 1
    while (longest + width - 1) / width > barCount { width *= 2 }
    var bars = (0..<(longest + width - 1) / width).map {
      Bar(from: $0 * width + 1, to: ($0 + 1) * width, items: 0)
    }
    for (length, count) in sides { bars[(Int(length) - 1) / width].items += count }
    return bars
  }
}

extension DatasetFolder {
  /// What the file of a shard must be.
  func expectation(
    ofShard shard: Int, of split: Split, _ index: DatasetIndex?
  ) throws(Failure) -> ShardExpectation {
    if case .listed(let entries) = description.shards,
      let expectation = entries[split].flatMap({ Self.expectation($0[shard]) })
    {
      return expectation
    }
    guard let index else { preconditionFailure("a folder has a list or an index") }
    return index[split].expectation(shard: shard)
  }

  func content(
    ofShard shard: Int, of split: Split, _ index: DatasetIndex?
  ) throws(Failure) -> ShardContent {
    try reader(shard, of: split, expectation(ofShard: shard, of: split, index)).content()
  }

  /// A shard as its file is.
  func summary(
    ofShard shard: Int, of split: Split, _ index: DatasetIndex?
  ) throws(Failure) -> ShardSummary {
    let expectation = try expectation(ofShard: shard, of: split, index)
    return ShardSummary(
      of: try reader(shard, of: split, expectation).content(), streams: description.streams,
      digest: expectation.digest, byteCount: expectation.byteCount)
  }
}
