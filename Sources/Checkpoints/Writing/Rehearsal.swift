import Core
import Foundation

/// What a save does, with a file of a few bytes: a place where no save can succeed, or that is
/// another one on another host, is found before anything is computed.
package struct Rehearsal: Sendable {
  /// Of the draft, which `CheckpointStore.beginRehearsal` has made.
  package let folder: String
  /// What its file holds, unlike that of any other rehearsal.
  package let content: String

  package init(folder: String, content: String) {
    self.folder = folder
    self.content = content
  }

  /// Opens the file as a rank that writes its part of a checkpoint does.
  ///
  /// Throws: `Failure` (.inputOutput, .badData) when it cannot be written or is another one.
  package func takePart() throws(Failure) {
    let parent = FileSystem.parent(of: folder)
    let file: OpenFile
    do throws(Failure) {
      file = try OpenFile(
        own: FileSystem.name(of: folder) + "/" + Format.dataFile, below: parent, for: .updating)
    } catch {
      throw Failure(
        error.exitCode,
        "\(error.message), which the first rank has made there; the run directory must be one"
          + " folder on all hosts")
    }
    let expected = Array(content.utf8)
    guard try file.byteCount() == expected.count,
      try file.read(byteCount: expected.count, at: 0) == expected
    else {
      throw Failure(
        .inputOutput,
        "\(parent): is not the folder the first rank writes to; the run directory must be one"
          + " folder on all hosts")
    }
  }
}

extension CheckpointStore {
  /// Makes a draft with a file in it.
  ///
  /// Throws: `Failure` (.cannotCreate, .inputOutput); nothing is left.
  package func beginRehearsal(incarnation: Int) throws(Failure) -> Rehearsal {
    let rehearsal = Rehearsal(
      folder: draftFolder("begin", launch: incarnation),
      content: "\(UInt64.random(in: 0...UInt64.max))\n")
    try requirePermit()
    try FileSystem.createFolder(folder)
    try Draft.clear(rehearsal.folder)
    try FileSystem.createNewFolder(rehearsal.folder)
    do throws(Failure) {
      let file = try OpenFile(creating: rehearsal.folder + "/" + Format.dataFile)
      try Array(rehearsal.content.utf8).withUnsafeBytes { raw in
        Result { () throws(Failure) in try file.write(raw, at: 0) }
      }.get()
      try file.sync()
    } catch {
      abandon(rehearsal)
      throw error
    }
    return rehearsal
  }

  /// Moves the draft as if to its place, and removes it.
  ///
  /// Throws: `Failure` (.inputOutput); what is left is removed by the next save.
  package func end(_ rehearsal: Rehearsal, incarnation: Int) throws(Failure) {
    try requirePermit()
    let place = draftFolder("end", launch: incarnation)
    try Draft.clear(place)
    try FileSystem.exchange(rehearsal.folder, with: place)
    try Draft.clear(place)
  }

  /// Removes what there is of it.
  package func abandon(_ rehearsal: Rehearsal) {
    if (try? requirePermit()) != nil { try? Draft.clear(rehearsal.folder) }
  }
}
