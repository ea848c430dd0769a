import Checkpoints
import Core
import Datasets
import Messaging

/// The dataset of a run, and what the run's directory is to keep of it.
struct OpenedDataset {
  let dataset: Dataset
  /// On rank 0.
  fileprivate let keepsIndex: Bool

  /// Keeps the index unless it is there already; `report` hears of one that cannot be kept, which
  /// only costs time at the next launch.
  func keep(in paths: RunPaths, _ report: (String) -> Void) {
    guard keepsIndex else { return }
    let path = paths.index(of: dataset.digest)
    do throws(Failure) {
      try FileSystem.writeAtomically(try KeptIndex.encoded(dataset), to: path)
    } catch {
      report("the index of \(dataset.path) is not kept: \(error.message)")
    }
  }
}

extension Communicator {
  /// Opens a dataset on every rank. Only rank 0 looks which shards there are, and reads those of a
  /// folder without an index, unless the run has kept one.
  ///
  /// Collective. Throws: the same `Failure` on every rank.
  func openDataset(_ path: String, _ paths: RunPaths) throws(Failure) -> OpenedDataset {
    let isFirst = rank == 0
    let (folder, stored) = try together { () throws(Failure) in
      let folder = try DatasetFolder(path: path)
      let stored = try folder.storedIndex()
      if isFirst { try folder.requireShardFiles() }
      return (folder, stored)
    }
    // Each rank may find another folder under that name.
    let own = "\(folder.description.digest), version \(folder.description.version)"
    let first = try broadcast(own)
    try together { () throws(Failure) in
      guard own == first else {
        throw Failure(
          .badData,
          "\(path): expected the dataset of rank 0 (\(first)) on \(hostName), found \(own); give"
            + " all ranks one folder")
      }
    }
    let kept = isFirst ? KeptIndex.read(paths, digest: folder.description.digest) : nil
    if let stored {
      return OpenedDataset(
        dataset: Dataset(folder, stored), keepsIndex: isFirst && kept?.index != stored)
    }
    let known = kept?.dataset(folder)
    let image = try together { () throws(Failure) -> [UInt8] in
      guard isFirst else { return [] }
      let dataset = if let known { known } else { try folder.indexed() }
      return try KeptIndex.encoded(dataset)
    }
    // Not by every rank: each would read every shard.
    let bytes = try broadcast(image, from: 0)
    let dataset = try together { () throws(Failure) in
      guard let dataset = try KeptIndex(decoding: bytes, path: path).dataset(folder) else {
        throw Failure(.internal, "\(path): the index that rank 0 has made is of another folder")
      }
      return dataset
    }
    return OpenedDataset(dataset: dataset, keepsIndex: isFirst && known == nil)
  }
}

extension DatasetFolder {
  /// Reads every shard, and says so when that takes longer than a second.
  fileprivate func indexed() throws(Failure) -> Dataset {
    var progress = ReadingProgress(
      "\(path): has no index, so its shards are read once", say: StandardError.say)
    return Dataset(self, try readIndex { progress.reached($0, of: $1) })
  }
}

extension KeptIndex {
  /// What a run has kept of a dataset; nil where it has nothing that can be used.
  fileprivate static func read(_ paths: RunPaths, digest: Digest) -> KeptIndex? {
    let path = paths.index(of: digest)
    guard let file = try? paths.open(path, for: .reading), let byteCount = try? file.byteCount(),
      byteCount <= byteLimit, let bytes = try? file.read(byteCount: byteCount, at: 0),
      let kept = try? KeptIndex(decoding: bytes, path: path), kept.digest == digest
    else { return nil }
    return kept
  }
}

extension Dataset {
  /// What makes this another dataset than the one a checkpoint was trained on; nil where its steps
  /// are the same.
  func difference(from header: CheckpointHeader, _ paths: RunPaths) -> String? {
    if header.datasetDigest == "\(digest)" || header.contentDigest == "\(contentDigest)" {
      return nil
    }
    let kept = Digest(hexadecimal: header.datasetDigest).flatMap {
      KeptIndex.read(paths, digest: $0)
    }
    let place = kept.flatMap { difference(from: $0.index) }.map { "\($0); " } ?? ""
    guard let expected = header.contentDigest else {
      return "\(place)digest \(digest), expected \(escaped(header.datasetDigest))"
    }
    return "\(place)content digest \(contentDigest), expected \(escaped(expected))"
  }
}
