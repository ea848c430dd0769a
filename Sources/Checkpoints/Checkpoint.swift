import Core
import Foundation
import HDF5
import Layers
import Tensors

/// An opened checkpoint; every byte of it has been verified before this value exists.
package final class Checkpoint {
  /// The checkpoint's folder.
  package let path: String
  package let header: CheckpointHeader
  /// Names and shapes of the tensors in flat order, as the file has them.
  package let layout: ParameterLayout
  /// False for parameters alone, e.g. an average.
  package let hasMoments: Bool
  /// Identifies exactly these bytes.
  package let digest: String

  private let file: OpenFile
  private let spans: [StateVector: [Skeleton.Span]]

  /// Verifies and opens the checkpoint in a folder.
  ///
  /// When another rank has verified it and said its `digest`, the bytes are not read again; they
  /// must still be that checkpoint's.
  /// Throws: `Failure` (.missingInput, .badData), one sentence on what is wrong.
  package init(folder: String, verifiedElsewhere digest: String? = nil) throws(Failure) {
    let dataPath = folder + "/" + Format.dataFile
    let manifestPath = folder + "/" + Format.manifestFile
    guard FileSystem.kind(of: dataPath) != nil else {
      throw Failure(.missingInput, "\(folder): has no \(Format.dataFile)")
    }
    guard FileSystem.kind(of: manifestPath) != nil else {
      throw Failure(
        .badData,
        "\(folder): has no \(Format.manifestFile), without which \(Format.dataFile) cannot be "
          + "verified; keep the two together")
    }
    let manifest = try Manifest(readingFrom: manifestPath)
    file = try OpenFile(readingRegular: dataPath)
    if let digest {
      guard manifest.digest == digest, try file.byteCount() == manifest.fileByteCount else {
        throw Failure(.badData, "\(folder): is not the checkpoint that was verified (\(digest))")
      }
    } else {
      try manifest.verify(file)
    }
    let stored = try StoredState(in: try StoredFile(sharing: file))
    (header, layout, spans) = (stored.header, stored.layout, stored.spans)
    hasMoments = stored.hasMoments
    guard manifest.agrees(with: header) else {
      throw Failure(
        .badData,
        "\(folder): its two files are of different checkpoints (the manifest of step "
          + "\(manifest.step), the other of step \(header.step))")
    }
    path = folder
    self.digest = manifest.digest
  }

  /// Opens a checkpoint folder, the `checkpoint.h5` in one, or the newest checkpoint that verifies
  /// of a run directory; `report` hears of those that do not.
  package static func open(
    _ path: String, report: (String) -> Void = { _ in }
  ) throws(Failure) -> Checkpoint {
    switch try Location(path) {
    case .checkpoint(let folder): return try Checkpoint(folder: folder)
    case .run(let folder):
      guard let newest = try CheckpointStore(folder: folder).newestVerified(report: report) else {
        throw CheckpointStore.empty(folder)
      }
      return newest
    }
  }

  /// What a path given by a person means.
  enum Location {
    /// The folder of one checkpoint.
    case checkpoint(String)
    /// The folder of a run's checkpoints.
    case run(String)

    init(_ path: String) throws(Failure) {
      guard FileSystem.exists(path) else {
        throw FileSystem.absence(of: path, "no such checkpoint, run directory or file")
      }
      let folder = path.hasSuffix("/") && path.count > 1 ? String(path.dropLast()) : path
      let places = [Format.dataFile, "checkpoints"].map { folder + "/" + $0 }
      if FileSystem.exists(places[0]) {
        self = .checkpoint(folder)
      } else if FileSystem.exists(places[1]) {
        self = .run(try CheckpointStore.folder(ofRun: folder))
      } else if path.hasSuffix("/" + Format.dataFile) || path == Format.dataFile {
        let parent = path.dropLast(Format.dataFile.count)
        self = .checkpoint(parent.isEmpty ? "." : String(parent.dropLast()))
      } else {
        throw Failure(
          .badData,
          "\(path): is neither a checkpoint folder, nor a \(Format.dataFile), nor a run directory"
            + (places.lazy.compactMap(FileSystem.deadLink).first.map { " (\($0))" } ?? ""))
      }
    }
  }

  /// Copies a range of a vector, in flat order, out of the file.
  ///
  /// Throws: `Failure` (.badData when the checkpoint has no such vector or its file ends too early,
  /// .inputOutput when the disk fails).
  package func read(
    _ range: Range<Int>, of vector: StateVector, into destination: Vector
  ) throws(Failure) {
    precondition(range.lowerBound >= 0 && range.upperBound <= layout.count, "range outside")
    precondition(range.count == destination.count, "destination of another size")
    guard let spans = spans[vector] else {
      throw Failure(
        .badData,
        "\(path): holds parameters only, no optimizer state, so training cannot continue from it")
    }
    for span in spans.overlapping(range) {
      let part = span.range.clamped(to: range)
      let start = part.lowerBound - range.lowerBound
      try file.read(
        into: destination[start..<start + part.count].mutableBytes,
        at: span.offset + (part.lowerBound - span.range.lowerBound) * 4)
    }
  }

  /// Checks that the tensors are those of a model.
  ///
  /// Throws: `Failure(.badData)` naming the first tensor that differs, with both shapes.
  package func requireLayout(_ expected: ParameterLayout) throws(Failure) {
    let place = path + "/" + Format.dataFile
    for (index, entry) in expected.entries.enumerated() {
      // At its own place first: to search for each takes time with the square of their number.
      let own = layout.entries.indices.contains(index) ? layout.entries[index] : nil
      guard let found = own?.name == entry.name ? own : layout[entry.name] else {
        throw Failure(
          .badData,
          "\(place): has no tensor \(entry.name), which the model has with shape \(entry.shape); "
            + "the checkpoint is of another model")
      }
      guard found.shape == entry.shape else {
        throw Failure(
          .badData,
          "\(place): tensor \(entry.name) has shape \(found.shape) where the model has "
            + "\(entry.shape); the checkpoint is of another model")
      }
    }
    for (index, entry) in layout.entries.enumerated() {
      guard index < expected.entries.count, expected.entries[index].name == entry.name else {
        throw Failure(
          .badData,
          "\(place): tensor \(escaped(entry.name)) is not in the model, or not at this place; the "
            + "checkpoint is of another model")
      }
    }
  }
}
