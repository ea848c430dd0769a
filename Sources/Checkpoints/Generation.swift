import Core

/// A published checkpoint of a run, as its folder's name and its manifest tell.
struct Generation {
  private static let prefix = "step-"

  let step: Int
  let path: String
  /// nil when there is none that can be read.
  let manifest: Manifest?
  /// A later launch of the run has gone on from an earlier step.
  let isSuperseded: Bool

  var candidate: RetentionPolicy.Candidate {
    RetentionPolicy.Candidate(
      step: step, validationLoss: manifest?.validationLoss, isSuperseded: isSuperseded)
  }

  /// The folder's name: the step in nine digits, or more if it needs more.
  static func name(ofStep step: Int) -> String {
    precondition(step >= 0, "a step cannot be negative")
    let digits = String(step)
    return prefix + String(repeating: "0", count: max(0, 9 - digits.count)) + digits
  }

  /// Those in a folder, the highest step first; none when there is no such folder.
  ///
  /// Throws: `Failure` when it cannot be listed: nobody may take that for a run without
  /// checkpoints. `Failure(.badData)` when a newer Lockstep has written one of them: to go on from
  /// an older one would be to undo it. `Failure(.internal)` when this process lacks what it needs
  /// to look.
  static func all(in folder: String) throws(Failure) -> [Generation] {
    if FileSystem.isAbsent(folder) { return [] }
    let names: [String]
    do throws(Failure) {
      names = try FileSystem.names(in: folder)
    } catch {
      throw Failure(.inputOutput, error.message)
    }
    var found: [Generation] = []
    for name in names {
      guard name.hasPrefix(prefix), let step = Int(name.dropFirst(prefix.count)), step >= 0,
        Generation.name(ofStep: step) == name
      else { continue }
      let path = folder + "/" + name
      let files = [Format.manifestFile, Format.dataFile].map { path + "/" + $0 }
      // A removal leaves the folder if somebody has put something else into it.
      guard FileSystem.kind(of: path) != .folder || files.contains(where: isThere) else {
        continue
      }
      found.append(
        Generation(
          step: step, path: path, manifest: try readableManifest(files[0]), isSuperseded: false))
    }
    return found.sorted { $0.step > $1.step }
  }

  /// A checkpoint under a name that no step has, and its step as far as its manifest tells it; nil
  /// when there is none.
  ///
  /// Throws: as `all`.
  static func misnamed(in folder: String) throws(Failure) -> (name: String, step: Int?)? {
    if FileSystem.isAbsent(folder) { return nil }
    let named = Set(try all(in: folder).map(\.path))
    for name in (try? FileSystem.names(in: folder)) ?? [] {
      let path = folder + "/" + name
      guard !name.hasPrefix("."), !named.contains(path),
        FileSystem.exists(path + "/" + Format.dataFile),
        FileSystem.exists(path + "/" + Format.manifestFile)
      else { continue }
      return (name, try readableManifest(path + "/" + Format.manifestFile)?.step)
    }
    return nil
  }

  /// Those in a folder in the order in which a reader tries them.
  ///
  /// Throws: as `all`.
  static func preferred(in folder: String) throws(Failure) -> [Generation] {
    let found = try all(in: folder)
    let marked = found.map { generation in
      Generation(
        step: generation.step, path: generation.path, manifest: generation.manifest,
        isSuperseded: found.contains { other in
          guard let own = generation.manifest, let other = other.manifest else { return false }
          return other.runIdentifier == own.runIdentifier
            && other.incarnation > own.incarnation && other.step < own.step
        })
    }
    return marked.sorted { RetentionPolicy.isPreferred($0.candidate, over: $1.candidate) }
  }

  /// Refuses a link or a file in the place of the folder.
  func requireFolder() throws(Failure) {
    guard FileSystem.kind(of: path) == .folder else {
      throw Failure(.badData, "\(path): is not a folder but a link or a file")
    }
  }

  private static func readableManifest(_ path: String) throws(Failure) -> Manifest? {
    do throws(Failure) {
      return try Manifest(readingFrom: path)
    } catch {
      if error.exitCode == .internal { throw error }
      if let refusal = Manifest.refusalOfNewer(at: path) { throw refusal }
      return nil
    }
  }

  private static func isThere(_ path: String) -> Bool { FileSystem.kind(of: path) != nil }
}
