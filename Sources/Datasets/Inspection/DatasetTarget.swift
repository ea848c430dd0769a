import Core

/// What of a dataset a person names by a path.
package enum DatasetTarget: Sendable, Equatable {
  /// A prepared folder.
  case folder(String)
  /// A shard that lies in its folder.
  case shard(folder: String, split: Split, index: Int)

  /// nil for a path that is neither; a damaged folder is one.
  package init?(_ path: String) {
    let folder = FileSystem.withoutTrailingSlashes(path)
    if FileSystem.kind(of: "\(folder)/\(DatasetManifest.fileName)") != nil {
      self = .folder(folder)
      return
    }
    let parent = FileSystem.parent(of: path)
    guard FileSystem.kind(of: "\(parent)/\(DatasetManifest.fileName)") != nil,
      let found = try? DatasetFolder(path: parent)
    else { return nil }
    for split in Split.allCases {
      for index in 0..<(found.description.splits[split]?.shards ?? 0)
      where FileSystem.name(of: found.path(ofShard: index, of: split))
        == FileSystem.name(of: path)
      {
        self = .shard(folder: parent, split: split, index: index)
        return
      }
    }
    return nil
  }
}
