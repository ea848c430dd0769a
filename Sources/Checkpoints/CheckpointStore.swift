import Core
import Foundation
import HDF5
import Layers
import Synchronization

/// The checkpoints of one run: saves new ones, finds the newest that verifies, removes old ones.
///
/// One process writes at a time (the run directory is locked); any number may read.
package final class CheckpointStore: Sendable {
  private static let temporaryPrefix = ".tmp-"

  /// What a manifest file is recognised by after it has been verified once.
  private struct Identity: Equatable {
    let digest: String
    let byteCount: Int
  }

  let folder: String
  private let permit: @Sendable () throws(Failure) -> Void
  /// Checkpoints this process has seen whole, by path.
  private let verified = Mutex<[String: Identity]>([:])

  /// The store in a folder, e.g. RUN/checkpoints, which the first save creates.
  ///
  /// - Parameter permit: asked before anything is written, published or removed; throws where the
  ///   folder is not the writer's any more.
  package init(folder: String, permit: @escaping @Sendable () throws(Failure) -> Void = {}) {
    self.folder = folder
    self.permit = permit
  }

  /// The folder of a run's checkpoints.
  ///
  /// Throws: `Failure(.badData)` for a link in its place: the run directory may be somebody else's,
  /// and the link lead to another run of this user.
  package static func folder(ofRun run: String) throws(Failure) -> String {
    let folder = run + "/checkpoints"
    guard FileSystem.kind(of: folder) != .link else {
      throw Failure(
        .badData, "\(folder): is a link where a folder was expected; name the run it leads to")
    }
    return folder
  }

  /// The folder of a step's checkpoint.
  package func path(ofStep step: Int) -> String {
    folder + "/" + Generation.name(ofStep: step)
  }

  /// Steps of all published checkpoints, ascending, verified or not.
  ///
  /// Throws: `Failure(.inputOutput)` when the folder cannot be listed.
  package var steps: [Int] {
    get throws(Failure) { try Generation.all(in: folder).map(\.step).reversed() }
  }

  // MARK: Writing

  /// Writes, verifies and publishes a checkpoint that this process alone has the values of.
  ///
  /// Throws: `Failure` (.cannotCreate or .inputOutput when the disk fails, .inputOutput also when a
  /// later launch of the run has saved, or what the source throws); temporaries are gone and
  /// everything published is untouched, unless only the last sync failed: then the new checkpoint
  /// is there, though a crash may still undo it.
  package func save(
    _ header: CheckpointHeader, layout: ParameterLayout, from source: some StateSource,
    hasMoments: Bool = true
  ) throws(Failure) -> SavedCheckpoint {
    let stopwatch = Stopwatch()
    let begun = try begin(header, layout: layout, hasMoments: hasMoments)
    do throws(Failure) {
      let blocks = begun.blocks + (try begun.draft.write(from: source))
      return try publish(begun.draft, header, blocks, since: stopwatch)
    } catch {
      discard(header)
      throw error
    }
  }

  /// Makes the draft of a checkpoint, unless a later launch of the run has saved already.
  func begin(
    _ header: CheckpointHeader, layout: ParameterLayout, hasMoments: Bool
  ) throws(Failure) -> (draft: Draft, blocks: [Manifest.Block]) {
    try permit()
    try FileSystem.createFolder(folder)
    try requireNewestLaunch(header)
    cleanUp(afterLaunchesTo: header.incarnation)
    let draft = draftFolder(header)
    try makeRoom(at: draft)
    return try Draft.begin(header, layout: layout, hasMoments: hasMoments, at: draft)
  }

  /// Whatever stands in the place of a draft and is no leftover of one moves aside: nobody who
  /// gives a run directory away decides that its next save fails.
  private func makeRoom(at draft: String) throws(Failure) {
    try? Draft.clear(draft)
    guard FileSystem.kind(of: draft) != nil else { return }
    try FileSystem.rename(draft, to: Self.freeName(draft + ".not-a-draft"))
  }

  /// A name that nothing has.
  private static func freeName(_ base: String) -> String {
    var (name, number) = (base, 1)
    while FileSystem.kind(of: name) != nil {
      number += 1
      name = "\(base)-\(number)"
    }
    return name
  }

  func requirePermit() throws(Failure) { try permit() }

  /// Publishes a draft whose every byte has been written, synced and read back.
  func publish(
    _ draft: Draft, _ header: CheckpointHeader, _ blocks: [Manifest.Block],
    since stopwatch: Stopwatch
  ) throws(Failure) -> SavedCheckpoint {
    let manifest = Manifest(
      header: header, previousDigest: try digest(before: header.step),
      fileByteCount: draft.byteCount, blocks: blocks.sorted { $0.offset < $1.offset })
    let path = path(ofStep: header.step)
    var aside: String?
    try draft.publish(header, manifest, at: path) { () throws(Failure) in
      // Again, because writing has taken its time.
      try permit()
      try requireNewestLaunch(header)
      aside = try moveAsideUnlessVerified(path)
    }
    remember(path)
    return SavedCheckpoint(
      path: path, byteCount: draft.byteCount, seconds: stopwatch.seconds, movedAside: aside)
  }

  /// A step that is saved again replaces only what is a checkpoint: what is not may be one that
  /// somebody has edited, and is his. Returns: where it is now.
  private func moveAsideUnlessVerified(_ path: String) throws(Failure) -> String? {
    // Not from memory: an edit may have left the size and the manifest as they were.
    guard FileSystem.kind(of: path) != nil, (try? Checkpoint(folder: path)) == nil else {
      return nil
    }
    let aside = Self.freeName(path + ".not-verified")
    try FileSystem.rename(path, to: aside)
    return aside
  }

  /// Removes what an abandoned save has written, unless that is whole; then the next save does.
  func discard(_ header: CheckpointHeader) {
    if (try? permit()) != nil { Draft.discard(draftFolder(header)) }
  }

  private func draftFolder(_ header: CheckpointHeader) -> String {
    draftFolder(Generation.name(ofStep: header.step), launch: header.incarnation)
  }

  /// By that name the next save finds what a writer that was killed has left.
  func draftFolder(_ name: String, launch incarnation: Int) -> String {
    "\(folder)/\(CheckpointStore.temporaryPrefix)\(name)-launch-\(incarnation)"
  }

  /// Ends what a writer that was killed has begun; a launch that is not yet fenced may be writing
  /// still, so the drafts of later ones stay.
  private func cleanUp(afterLaunchesTo incarnation: Int) {
    // What cannot be done now harms nobody and is tried again at the next save.
    let names = (try? FileSystem.names(in: folder)) ?? []
    for name in names where name.hasSuffix(FileSystem.asideSuffix) {
      let step = name.dropLast(FileSystem.asideSuffix.count)
      if step.wholeMatch(of: /step-\d+/) != nil { try? Draft.settle(folder + "/" + step) }
    }
    let drafts = names.filter { $0.hasPrefix(CheckpointStore.temporaryPrefix) }
    // The name may be of what was replaced: before that goes, the disk must have what replaced it.
    guard !drafts.isEmpty, (try? FileSystem.syncFolder(folder)) != nil else { return }
    for name in drafts {
      let launch = name.firstMatch(of: /-launch-(\d+)/).flatMap { Int($0.1) }
      guard launch ?? 0 <= incarnation else { continue }
      let step = name.firstMatch(of: /step-\d+/).map { folder + "/" + $0.0 }
      try? Draft.clear(folder + "/" + name, home: step)
    }
  }

  private func digest(before step: Int) throws(Failure) -> String? {
    for generation in try Generation.all(in: folder) where generation.step < step {
      if let manifest = generation.manifest { return manifest.digest }
    }
    return nil
  }

  /// A launch that a later one has overtaken must not publish.
  private func requireNewestLaunch(_ header: CheckpointHeader) throws(Failure) {
    for generation in try Generation.all(in: folder) {
      guard let manifest = generation.manifest,
        manifest.runIdentifier == header.runIdentifier, manifest.incarnation > header.incarnation
      else { continue }
      throw Failure(
        .inputOutput,
        "\(generation.path): was saved by launch \(manifest.incarnation) of this run; this is "
          + "launch \(header.incarnation), which must not save any more")
    }
  }

  // MARK: Reading

  /// The highest launch that any checkpoint was saved by; 0 when there is none.
  ///
  /// Throws: `Failure(.inputOutput)` when the folder cannot be listed.
  package func highestIncarnation() throws(Failure) -> Int {
    try Generation.all(in: folder).compactMap { $0.manifest?.incarnation }.max() ?? 0
  }

  /// The checkpoint of the latest launch of the run that the newest checkpoint is of; nil when
  /// there is none.
  ///
  /// Throws: as `highestIncarnation`.
  package func newestLaunch() throws(Failure) -> (path: String, incarnation: Int)? {
    let generations = try Generation.preferred(in: folder)
    let run = generations.lazy.compactMap(\.manifest).first?.runIdentifier
    return generations.compactMap { generation in
      generation.manifest.flatMap { manifest in
        manifest.runIdentifier == run ? (generation.path, manifest.incarnation) : nil
      }
    }.max { $0.incarnation < $1.incarnation }
  }

  /// Opens the newest checkpoint that verifies; nil when the run has none at all.
  ///
  /// A lone one that has not the name of a step is refused like one that does not verify.
  /// Reports one line for each newer one that does not verify or was saved by a launch that a later
  /// one has overtaken.
  /// Throws: `Failure` when there are checkpoints and none verifies (.inputOutput when the disk
  /// failed to give one of them, else .badData), or when it cannot be told whether there are:
  /// starting over silently would throw the run away. `Failure(.internal)` when this process lacks
  /// what it needs to look.
  package func newestVerified(report: (String) -> Void) throws(Failure) -> Checkpoint? {
    let generations = try Generation.preferred(in: folder)
    var problems: [Failure] = []
    for generation in generations {
      do throws(Failure) {
        let checkpoint = try open(generation)
        for problem in problems {
          report(problem.message + "; falling back to an older checkpoint")
        }
        for other in generations where other.step > generation.step && other.isSuperseded {
          report("\(other.path): a later launch has gone on from an earlier step; not used")
        }
        return checkpoint
      } catch {
        // Says nothing about the checkpoint, and an older one would throw away steps.
        if error.exitCode == .internal { throw error }
        problems.append(error)
      }
    }
    guard let newest = problems.first else {
      if let misnamed = try misnamed() { throw misnamed }
      return nil
    }
    // A disk may answer the next time, so nobody is told to give the checkpoints up.
    if let unreadable = problems.first(where: { $0.exitCode == .inputOutput }) {
      throw Failure(
        .inputOutput,
        "\(folder): none of its \(generations.count) checkpoints verifies, and not all could be "
          + "read (\(unreadable.message))")
    }
    throw Failure(
      .badData,
      "\(folder): none of its \(generations.count) checkpoints verifies (the newest: "
        + "\(newest.message)); restore one, or move the folder away to start from the beginning")
  }

  /// Opens the newest checkpoints, oldest of them first, e.g. to average them.
  ///
  /// Throws: `Failure` (.missingInput when there are fewer, .badData when one does not verify).
  package func newest(_ count: Int) throws(Failure) -> [Checkpoint] {
    let generations = try Generation.preferred(in: folder)
    if generations.isEmpty, let misnamed = try misnamed() { throw misnamed }
    guard generations.count >= count else {
      throw Failure(
        .missingInput,
        "\(folder): holds \(generations.count) checkpoints, \(count) were asked for "
          + "(checkpoint.keep decides how many stay)")
    }
    return try generations.prefix(count).reversed().map { generation throws(Failure) in
      try open(generation)
    }
  }

  static func empty(_ folder: String) -> Failure {
    Failure(.missingInput, "\(folder): holds no checkpoint yet")
  }

  /// What to say of a folder without the checkpoint of any step in which there is one all the same,
  /// e.g. a copy named `best`; nil where there is none.
  ///
  /// Throws: as `highestIncarnation`.
  func misnamed() throws(Failure) -> Failure? {
    guard let (name, step) = try Generation.misnamed(in: folder) else { return nil }
    let wanted = step.map(Generation.name(ofStep:)) ?? "the name of its step"
    return Failure(
      .badData,
      "\(folder): holds no checkpoint under the name of a step, but \(escaped(name)); rename that"
        + " to \(wanted) to go on from it, name its own folder to read it, or move it away to start"
        + " from the beginning")
  }

  private func open(_ generation: Generation) throws(Failure) -> Checkpoint {
    try generation.requireFolder()
    let checkpoint = try Checkpoint(folder: generation.path)
    guard checkpoint.header.step == generation.step else {
      throw Failure(
        .badData,
        "\(generation.path): holds step \(checkpoint.header.step), not the one of its name")
    }
    remember(generation.path)
    return checkpoint
  }

  // MARK: Retention

  /// Removes what a policy does not keep.
  ///
  /// Order: a checkpoint's manifest goes first, so that what a crash leaves of it is no checkpoint.
  /// Throws: `Failure(.inputOutput)` when one cannot be removed, or what `permit` throws.
  package func retain(_ policy: RetentionPolicy) throws(Failure) {
    try permit()
    let generations = try Generation.preferred(in: folder)
    let paths = Dictionary(
      generations.map { ($0.step, $0.path) }, uniquingKeysWith: { first, _ in first })
    let removable = policy.removable(generations.map(\.candidate)) { candidate in
      paths[candidate.step].map(isVerified) ?? false
    }
    for step in removable { if let path = paths[step] { try remove(path) } }
  }

  private func remove(_ path: String) throws(Failure) {
    // Not ours to follow or to empty.
    guard FileSystem.kind(of: path) == .folder else { return }
    verified.withLock { $0[path] = nil }
    try FileSystem.removeFile(path + "/" + Format.manifestFile)
    try FileSystem.syncFolder(path)
    try FileSystem.removeFile(path + "/" + Format.dataFile)
    // What else somebody has put there is his.
    try FileSystem.removeFolderIfEmpty(path)
    try FileSystem.syncFolder(folder)
  }

  private func isVerified(_ path: String) -> Bool {
    if let known = verified.withLock({ $0[path] }), known == identity(of: path) { return true }
    guard FileSystem.kind(of: path) == .folder, (try? Checkpoint(folder: path)) != nil else {
      return false
    }
    remember(path)
    return true
  }

  private func remember(_ path: String) {
    let identity = identity(of: path)
    verified.withLock { $0[path] = identity }
  }

  private func identity(of path: String) -> Identity? {
    guard let manifest = try? Manifest(readingFrom: path + "/" + Format.manifestFile),
      let byteCount = try? FileSystem.byteCount(of: path + "/" + Format.dataFile)
    else { return nil }
    return Identity(digest: manifest.digest, byteCount: byteCount)
  }
}
