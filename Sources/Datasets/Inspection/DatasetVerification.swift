import Core

/// Whether every byte of a dataset is what its description and its index say.
package struct DatasetVerification: Codable, Sendable {
  package var path: String
  package var isSound: Bool
  /// The first thing that is wrong.
  package var problem: String?
  /// Of those that were read.
  package var shards: Int
  package var byteCount: Int
  /// Computed from what was read; of a shard alone its own.
  package var digest: String?
  package var contentDigest: String?

  private enum CodingKeys: String, CodingKey {
    case path, problem, shards, digest, contentDigest
    case isSound = "sound"
    case byteCount = "bytes"
  }

  /// The JSON form, keys sorted.
  package func encoded() throws(Failure) -> [UInt8] { try DescriptionText.encodeEscaped(self) }

  /// Reads every byte of a folder, or one shard.
  ///
  /// - Parameter progress: hears how many shards are read, and of how many.
  /// Throws: `Failure` (.inputOutput when the disk fails, .internal when this process lacks what it
  /// needs); what is wrong with the dataset is recorded instead.
  package init(
    of target: DatasetTarget, progress: (Int, Int) -> Void = { _, _ in }
  ) throws(Failure) {
    switch target {
    case .folder(let path): self.init(path)
    case .shard(let path, let split, let index):
      let folder = try DatasetFolder(path: path)
      self.init(folder.path(ofShard: index, of: split))
    }
    do throws(Failure) {
      switch target {
      case .folder(let path): try verify(DatasetFolder(path: path), progress)
      case .shard(let path, let split, let index):
        try verify(index, of: split, in: DatasetFolder(path: path))
      }
      isSound = true
    } catch {
      if [.inputOutput, .internal].contains(error.exitCode) { throw error }
      problem = error.message
    }
  }

  private init(_ path: String) {
    self.path = path
    (isSound, shards, byteCount) = (false, 0, 0)
  }

  private mutating func verify(
    _ folder: DatasetFolder, _ progress: (Int, Int) -> Void
  ) throws(Failure) {
    let stored = try folder.storedIndex()
    try folder.requireShardFiles()
    let found = try folder.readIndex(expecting: stored, progress: progress)
    for split in Split.allCases {
      shards += found[split].shardCount
      byteCount += found[split].byteCounts.reduce(0, +)
      if let stored { try Self.compare(found[split], stored[split], split, folder) }
      if folder.description.splits[split]?.texts.isEmpty == false {
        _ = try folder.texts(of: split)
      }
    }
    let dataset = Dataset(folder, found)
    contentDigest = "\(dataset.contentDigest)"
    // Of a folder of version 1 it is the digest of the bytes that were read.
    let digest = stored == nil ? dataset.digest : try dataset.manifest.digest()
    self.digest = "\(digest)"
    guard digest == dataset.digest else {
      throw Failure(
        .badData,
        "\(folder.path)/\(DatasetManifest.fileName): expected the dataset digest \(digest) of what"
          + " it describes, found \(dataset.digest)")
    }
  }

  private static func compare(
    _ found: DatasetIndex.SplitIndex, _ stored: DatasetIndex.SplitIndex, _ split: Split,
    _ folder: DatasetFolder
  ) throws(Failure) {
    guard found != stored else { return }
    func row(_ index: DatasetIndex.SplitIndex, _ shard: Int) -> [String] {
      let width = index.tokens.count / index.shardCount
      let sides = index.longestSideOffsets[shard]..<index.longestSideOffsets[shard + 1]
      return [
        "\(index.contentDigests[shard])",
        "\(index.unknownTokens[shard * width..<(shard + 1) * width])",
        "\(index.longestSides[sides]) \(index.longestSideCounts[sides])",
      ]
    }
    let shard = found.digests.indices.first { row(found, $0) != row(stored, $0) }
    let place =
      shard.map { FileSystem.name(of: folder.path(ofShard: $0, of: split)) } ?? split.rawValue
    throw Failure(
      .badData,
      "\(folder.path): the index says of \(escaped(place)) what its tokens are not; prepare the"
        + " data again")
  }

  private mutating func verify(
    _ shard: Int, of split: Split, in folder: DatasetFolder
  ) throws(Failure) {
    let stored = try folder.storedIndex()
    let summary = try folder.summary(ofShard: shard, of: split, stored)
    shards = 1
    byteCount = summary.byteCount
    digest = "\(summary.digest)"
    contentDigest = "\(summary.contentDigest)"
    guard let stored else { return }
    guard stored[split].contentDigests[shard] == summary.contentDigest else {
      throw Failure(
        .badData,
        "\(path): expected tokens with the content digest \(stored[split].contentDigests[shard]),"
          + " found \(summary.contentDigest); prepare the data again")
    }
  }
}
