import Core

/// A prepared folder and what is known of its shards.
package struct Dataset: Sendable {
  package static let tokenizerFileName = "tokenizer.model"

  package let folder: DatasetFolder
  package let index: DatasetIndex

  /// Opens a folder with its index. No shard is read: each is checked when it is needed. A folder
  /// of version 1 has no index; there every shard is read once to make one.
  ///
  /// Throws: as `DatasetFolder.init`, `storedIndex` and `readIndex`.
  package init(path: String) throws(Failure) {
    let folder = try DatasetFolder(path: path)
    if let index = try folder.storedIndex() {
      self.init(folder, index)
    } else {
      self.init(folder, try folder.readIndex())
    }
  }

  /// Precondition: the index is of the folder's shards.
  package init(_ folder: DatasetFolder, _ index: DatasetIndex) {
    self.folder = folder
    self.index = index
  }

  package var path: String { folder.path }
  package var tokenizer: Tokenizer { folder.tokenizer }
  package var vocabularySize: Int { folder.tokenizer.vocabularySize }
  /// What the dataset is called by: equal for equal folders.
  package var digest: Digest { folder.description.digest }
  /// Equal where the steps of a run are equal.
  package var contentDigest: Digest {
    let description = folder.description
    return index.contentDigest(
      kind: description.kind, tokenizerDigest: description.tokenizer.digest)
  }

  package func pairCount(of split: Split) -> Int { folder.pairCount(of: split) }
  package func shardCount(of split: Split) -> Int { index[split].shardCount }

  package func texts(of split: Split) throws(Failure) -> [TextPair] {
    try folder.texts(of: split)
  }

  /// All items of a shard.
  ///
  /// Cost: reads the file once, and checks its digest.
  /// Throws: `Failure`: .missingInput, or .badData when it is not the one that was prepared.
  package func content(shard: Int, of split: Split) throws(Failure) -> ShardContent {
    try reader(shard, of: split).content()
  }

  private func reader(_ shard: Int, of split: Split) throws(Failure) -> ShardReader {
    try folder.reader(shard, of: split, index[split].expectation(shard: shard))
  }

  /// The description that version 1 of the format has of it.
  package var manifest: DatasetManifest {
    let description = folder.description
    var splits: [Split: DatasetManifest.SplitEntry] = [:]
    for (split, summary) in description.splits {
      let shards = (0..<index[split].shardCount).map { shard in
        let expectation = index[split].expectation(shard: shard)
        return DatasetManifest.ShardEntry(
          file: FileSystem.name(of: folder.path(ofShard: shard, of: split)),
          digest: "\(expectation.digest)", byteCount: expectation.byteCount,
          pairs: expectation.items, sourceTokens: expectation.tokens[0],
          targetTokens: expectation.tokens[1])
      }
      splits[split] = .init(shards: shards, texts: summary.texts)
    }
    return DatasetManifest(
      languages: description.languages, tokenizer: description.tokenizer, splits: splits,
      counts: description.counts, maximumPieces: description.maximumPieces,
      seed: description.seed, provenance: description.provenance,
      licenceNote: description.licenceNote)
  }
}

extension Dataset {
  /// Where the content of this dataset and another differ, as far as their indices tell; nil where
  /// they do not.
  package func difference(from other: DatasetIndex) -> String? {
    let (own, theirs) = (index[.training].contentDigests, other[.training].contentDigests)
    guard own.count == theirs.count else {
      return "it has \(own.count) training shards, that one \(theirs.count)"
    }
    guard let shard = own.indices.first(where: { own[$0] != theirs[$0] }) else { return nil }
    let name = FileSystem.name(of: folder.path(ofShard: shard, of: .training))
    return "training shard \(shard) (\(escaped(name))) is the first with other tokens"
  }
}

/// Describes a folder whose shards, tokenizer and texts are written.
///
/// Throws: `Failure` (.badData for more than its readers take; .cannotCreate, .inputOutput).
package func writeDescription(
  _ manifest: DatasetManifest, _ index: DatasetIndex, in folder: String
) throws(Failure) {
  let path = "\(folder)/\(IndexFile.fileName)"
  let file = try IndexFile(index, path: path)
  let description = try DatasetDescription(
    manifest, file,
    contentDigest: index.contentDigest(
      kind: .pairs, tokenizerDigest: manifest.tokenizer.digest))
  try FileSystem.writeAtomically(file.bytes, to: path)
  try FileSystem.writeAtomically(
    description.encoded(), to: "\(folder)/\(DatasetManifest.fileName)")
}
