import Core
import Foundation
import Layers
import Tensors

/// The mean of several checkpoints' parameters, as the paper decodes with.
///
/// mean[i] = (p_1[i] + ... + p_n[i]) / n, summed in Double in the order given, rounded once.
/// Source: "Attention Is All You Need", section 6.1 (last 5 checkpoints for base, 20 for big).
private struct Mean: StateSource {
  let checkpoints: [Checkpoint]

  func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    var sums = [Double](repeating: 0, count: range.count)
    for checkpoint in checkpoints {
      try checkpoint.read(range, of: vector, into: destination)
      for index in sums.indices { sums[index] += Double(destination.base[index]) }
    }
    let scale = Double(checkpoints.count)
    for index in sums.indices { destination.base[index] = Float(sums[index] / scale) }
  }
}

extension Checkpoint {
  /// Writes the mean of the parameters as a checkpoint of its own at `place`, without optimizer
  /// state; header and provenance are those of the last given, but without its validation loss,
  /// which is not the mean's; the provenance lists all.
  ///
  /// Throws: `Failure` (.badData when the models or their tokenizers differ, .cannotCreate when
  /// something else is at `place`, .inputOutput when the disk fails).
  package static func average(
    _ checkpoints: [Checkpoint], into place: String
  ) throws(Failure) -> SavedCheckpoint {
    let path = FileSystem.withoutTrailingSlashes(place)
    guard let last = checkpoints.last else {
      throw Failure(.usage, "nothing to average: at least one checkpoint is needed")
    }
    for other in checkpoints.dropLast() {
      try other.requireLayout(last.layout)
      guard other.header.tokenizerModel == last.header.tokenizerModel else {
        throw Failure(
          .badData, "\(other.path) and \(last.path): have different tokenizers, so no mean")
      }
    }
    removeDrafts(of: path)
    try Draft.settle(path)
    try requireReplaceable(path)
    var header = last.header
    header.validationLoss = nil
    header.provenance["average_of"] = checkpoints.map { "\($0.path) \($0.digest)" }
      .joined(separator: "\n")
    header.provenance["average_of_steps"] = checkpoints.map { "\($0.header.step)" }
      .joined(separator: " ")
    let stopwatch = Stopwatch()
    let begun = try Draft.begin(
      header, layout: last.layout, hasMoments: false, at: path + draftSuffix + "\(getpid())")
    do throws(Failure) {
      let mean = Mean(checkpoints: checkpoints)
      let blocks = begun.blocks + (try begun.draft.write(from: mean))
      let manifest = Manifest(
        header: header, previousDigest: nil, fileByteCount: begun.draft.byteCount,
        blocks: blocks.sorted { $0.offset < $1.offset })
      try begun.draft.publish(header, manifest, at: path) { () throws(Failure) in }
    } catch {
      Draft.discard(begun.draft.folder)
      throw error
    }
    return SavedCheckpoint(
      path: path, byteCount: begun.draft.byteCount, seconds: stopwatch.seconds)
  }

  private static let draftSuffix = ".tmp-"

  /// Removes what processes that are gone have left beside `path`.
  private static func removeDrafts(of path: String) {
    let folder = FileSystem.parent(of: path)
    let prefix = FileSystem.name(of: path) + draftSuffix
    for name in (try? FileSystem.names(in: folder)) ?? [] where name.hasPrefix(prefix) {
      guard let process = pid_t(name.dropFirst(prefix.count)), process > 0,
        FileSystem.kind(of: folder + "/" + name) == .folder, kill(process, 0) != 0, errno == ESRCH,
        // It may be what was replaced: the disk must have what replaced it.
        (try? FileSystem.syncFolder(folder)) != nil
      else { continue }
      // What cannot be removed now harms nobody and is tried again the next time.
      try? Draft.clear(folder + "/" + name, home: path)
    }
  }

  /// Only an average may be replaced by an average.
  private static func requireReplaceable(_ path: String) throws(Failure) {
    if let link = FileSystem.deadLink(on: path) {
      throw Failure(.cannotCreate, "\(path): cannot be made (\(link)); choose another --out")
    }
    guard FileSystem.exists(path) else { return }
    guard !FileSystem.isMountPoint(path) else {
      throw Failure(
        .cannotCreate,
        "\(path): is a mount point, whose place nothing can take; choose another --out")
    }
    if let found = try? Checkpoint(folder: path), found.header.provenance["average_of"] != nil {
      return
    }
    throw Failure(
      .cannotCreate, "\(path): exists and is not an average; remove it or choose another --out")
  }
}
