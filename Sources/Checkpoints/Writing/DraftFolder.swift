import Core
import Foundation

/// What becomes of the folders that saves leave: unfinished drafts, and checkpoints that have been
/// replaced.
extension Draft {
  /// Removes a draft or a replaced checkpoint. Files Lockstep did not write move to `home`, the
  /// checkpoint that stands now; where that has others of their names, they stay with the folder.
  ///
  /// Order: they are moved before anything goes, so that a crash loses none.
  /// Throws: `Failure` (.missingInput, .inputOutput); what was not yet moved or removed is still
  /// there.
  static func clear(_ folder: String, home: String? = nil) throws(Failure) {
    switch FileSystem.kind(of: folder) {
    case nil: return
    case .folder: break
    default: return try FileSystem.removeFile(folder)
    }
    let names = try FileSystem.names(in: folder)
    if let home, FileSystem.kind(of: home) == .folder {
      for name in names where !isOurs(name) && FileSystem.kind(of: home + "/" + name) == nil {
        try FileSystem.rename(folder + "/" + name, to: home + "/" + name)
      }
    }
    for name in names where isOurs(name) { try FileSystem.removeFile(folder + "/" + name) }
    try FileSystem.removeFolderIfEmpty(folder)
  }

  /// Whether all of a draft was written and read back: only its move to its place has failed.
  static func isWhole(_ folder: String) -> Bool {
    FileSystem.kind(of: folder + "/" + Format.manifestFile) == .regularFile
  }

  /// Removes a draft that is not whole.
  static func discard(_ folder: String) {
    // What cannot be removed now is tried again at the next save.
    if !isWhole(folder) { try? clear(folder) }
  }

  /// Ends a replacement of `path` that ended halfway: what is aside comes back where nothing has
  /// replaced it, and goes where the new one is durable and verifies.
  static func settle(_ path: String) throws(Failure) {
    let aside = FileSystem.aside(of: path)
    guard FileSystem.kind(of: aside) == .folder else { return }
    guard FileSystem.kind(of: path) != nil else { return try FileSystem.rename(aside, to: path) }
    guard (try? Checkpoint(folder: path)) != nil else { return }
    try FileSystem.syncFolder(FileSystem.parent(of: path))
    try clear(aside, home: path)
  }

  private static func isOurs(_ name: String) -> Bool {
    [Format.dataFile, Format.manifestFile].contains(name)
      || name.hasPrefix(Format.manifestFile + ".tmp-") || name.hasPrefix(Skeleton.scratchPrefix)
  }
}
