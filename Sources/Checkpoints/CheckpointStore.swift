import Core
import Foundation
import Layers

/// The checkpoints of one run: saves new ones, finds the newest that verifies, removes old ones.
///
/// One process writes at a time (the run directory is locked); any number may read.
package final class CheckpointStore {
  /// Never fewer verified generations are kept, whatever the configuration says.
  package static let fewestGenerations = 2

  private static let prefix = "step-"
  private static let temporaryPrefix = ".tmp-"

  /// A published checkpoint.
  private struct Generation {
    let step: Int
    let path: String
  }

  /// What a manifest file is recognised by after it has been verified once.
  private struct Identity: Equatable {
    let digest: String
    let byteCount: Int
  }

  private let folder: String
  /// Checkpoints this process has seen whole, by path.
  private var verified: [String: Identity] = [:]

  /// The store in a folder, e.g. RUN/checkpoints, which the first save creates.
  package init(folder: String) { self.folder = folder }

  /// The folder of a step's checkpoint.
  package func path(ofStep step: Int) -> String {
    precondition(step >= 0, "a step cannot be negative")
    let digits = String(step)
    return folder + "/" + CheckpointStore.prefix
      + String(repeating: "0", count: max(0, 9 - digits.count)) + digits
  }

  /// Steps of all published checkpoints, ascending, verified or not.
  package var steps: [Int] { generations().map(\.step).reversed() }

  /// Writes, verifies and publishes a checkpoint.
  ///
  /// Order: pulls every piece from `source` once, vector by vector, as `StateVector.pieces` says.
  /// Throws: `Failure` (.cannotCreate or .inputOutput when the disk fails, .inputOutput also when a
  /// later incarnation of the run has saved, or what the source throws); temporaries are gone,
  /// everything published is untouched.
  package func save(
    _ header: CheckpointHeader, layout: ParameterLayout, from source: some StateSource,
    hasMoments: Bool = true
  ) throws(Failure) -> SavedCheckpoint {
    let fence = fence(for: header)
    let writer = CheckpointWriter(
      header: header, layout: layout, hasMoments: hasMoments, previousDigest: fence.previousDigest)
    let path = path(ofStep: header.step)
    let temporary =
      folder + "/" + CheckpointStore.temporaryPrefix + CheckpointStore.prefix + "\(header.step)"
    let saved = try writer.write(to: path, temporary: temporary, from: source) {
      () throws(Failure) in
      if let failure = fence.failure { throw failure }
      try FileSystem.createFolder(folder)
      removeTemporaries()
    }
    verified[path] = identity(of: path)
    return saved
  }

  /// Opens the newest checkpoint that verifies; nil when the run has none at all.
  ///
  /// Reports one line for each newer one that does not verify.
  /// Throws: `Failure(.badData)` when there are checkpoints and none verifies: starting over
  /// silently would throw the run away.
  package func newestVerified(report: (String) -> Void) throws(Failure) -> Checkpoint? {
    let generations = generations()
    var problems: [String] = []
    for generation in generations {
      do throws(Failure) {
        let checkpoint = try Checkpoint(folder: generation.path)
        verified[generation.path] = identity(of: generation.path)
        for problem in problems { report(problem + "; falling back to an older checkpoint") }
        return checkpoint
      } catch {
        problems.append(error.message)
      }
    }
    guard let newest = problems.first else { return nil }
    throw Failure(
      .badData,
      "\(folder): none of its \(generations.count) checkpoints verifies (the newest: \(newest)); "
        + "restore one, or move the folder away to start from the beginning")
  }

  /// Opens the newest checkpoints, oldest of them first, e.g. to average them.
  ///
  /// Throws: `Failure` (.missingInput when there are fewer, .badData when one does not verify).
  package func newest(_ count: Int) throws(Failure) -> [Checkpoint] {
    let generations = generations()
    guard generations.count >= count else {
      throw Failure(
        .missingInput,
        "\(folder): holds \(generations.count) checkpoints, \(count) were asked for "
          + "(checkpoint.keep decides how many stay)")
    }
    return try generations.prefix(count).reversed().map { generation throws(Failure) in
      try Checkpoint(folder: generation.path)
    }
  }

  /// Removes all but the newest checkpoints.
  ///
  /// At least `fewestGenerations` that verify stay, if there are that many; older ones stay for it.
  /// Throws: `Failure(.inputOutput)` when one cannot be removed.
  package func retain(newest keep: Int) throws(Failure) {
    let keep = max(keep, CheckpointStore.fewestGenerations)
    let generations = generations()
    guard generations.count > keep else { return }
    var sound = 0
    for (index, generation) in generations.enumerated() {
      if index >= keep, sound >= CheckpointStore.fewestGenerations {
        try remove(generation)
      } else if sound < CheckpointStore.fewestGenerations, isVerified(generation) {
        sound += 1
      }
    }
  }

  /// Out of the readers' sight first, then off the disk.
  private func remove(_ generation: Generation) throws(Failure) {
    let aside =
      folder + "/" + CheckpointStore.temporaryPrefix + "removed-\(generation.step)"
    try FileSystem.remove(aside)
    try FileSystem.rename(generation.path, to: aside)
    verified[generation.path] = nil
    try FileSystem.remove(aside + "/" + Format.manifestFile)
    try FileSystem.remove(aside)
  }

  private func isVerified(_ generation: Generation) -> Bool {
    if let known = verified[generation.path], known == identity(of: generation.path) {
      return true
    }
    guard (try? Checkpoint(folder: generation.path)) != nil else { return false }
    verified[generation.path] = identity(of: generation.path)
    return true
  }

  private func identity(of path: String) -> Identity? {
    guard let manifest = try? Manifest(readingFrom: path + "/" + Format.manifestFile),
      let byteCount = try? FileSystem.byteCount(of: path + "/" + Format.dataFile)
    else { return nil }
    return Identity(digest: manifest.digest, byteCount: byteCount)
  }

  /// Newest first.
  private func generations() -> [Generation] {
    let names = (try? FileSystem.names(in: folder)) ?? []
    return names.compactMap { name in
      guard name.hasPrefix(CheckpointStore.prefix),
        let step = Int(name.dropFirst(CheckpointStore.prefix.count)), step >= 0,
        path(ofStep: step) == folder + "/" + name
      else { return nil }
      return Generation(step: step, path: folder + "/" + name)
    }.sorted { $0.step > $1.step }
  }

  /// What a writer that was killed, or a removal that was cut short, has left.
  private func removeTemporaries() {
    for name in (try? FileSystem.names(in: folder)) ?? []
    where name.hasPrefix(CheckpointStore.temporaryPrefix) {
      // What cannot be removed now harms nobody and is tried again at the next save.
      try? FileSystem.remove(folder + "/" + name)
    }
  }

  /// The manifest before, and whether a later launch of the same run has saved already.
  private func fence(
    for header: CheckpointHeader
  ) -> (previousDigest: String?, failure: Failure?) {
    var previousDigest: String?
    for generation in generations() {
      guard
        let manifest = try? Manifest(
          readingFrom: generation.path + "/" + Format.manifestFile)
      else { continue }
      if manifest.runIdentifier == header.runIdentifier,
        manifest.incarnation > header.incarnation
      {
        return (
          nil,
          Failure(
            .inputOutput,
            "\(generation.path): was saved by launch \(manifest.incarnation) of this run; this is "
              + "launch \(header.incarnation), which must not save any more")
        )
      }
      if previousDigest == nil, generation.step < header.step { previousDigest = manifest.digest }
    }
    return (previousDigest, nil)
  }
}
