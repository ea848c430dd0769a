import Core
import Foundation
import HDF5
import Models
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
  /// Throws: `Failure` (.missingInput, .badData), one sentence on what is wrong.
  package init(folder: String) throws(Failure) {
    let dataPath = folder + "/" + Format.dataFile
    let manifestPath = folder + "/" + Format.manifestFile
    guard FileSystem.exists(dataPath) else {
      throw Failure(.missingInput, "\(folder): has no \(Format.dataFile)")
    }
    guard FileSystem.exists(manifestPath) else {
      throw Failure(
        .badData,
        "\(folder): has no \(Format.manifestFile), without which \(Format.dataFile) cannot be "
          + "verified; keep the two together")
    }
    let manifest = try Manifest(readingFrom: manifestPath)
    file = try OpenFile(reading: dataPath)
    try manifest.verify(file)
    let stored = try File.open(dataPath)
    header = try CheckpointHeader(from: stored)
    hasMoments = try stored.contains(StateVector.firstMoment.group)
    layout = try Checkpoint.layout(in: stored)
    spans = try Checkpoint.spans(
      in: stored, layout, hasMoments ? StateVector.allCases : [.parameters])
    path = folder
    digest = manifest.digest
  }

  /// Opens a checkpoint folder, the `checkpoint.h5` in one, or the newest checkpoint that verifies of a
  /// run directory; `report` hears of those that do not.
  package static func open(
    _ path: String, report: (String) -> Void = { _ in }
  ) throws(Failure) -> Checkpoint {
    try Checkpoint(folder: try resolve(path) { folder throws(Failure) in
      guard let newest = try CheckpointStore(folder: folder).newestVerified(report: report) else {
        throw Failure(.missingInput, "\(folder): holds no checkpoint yet")
      }
      return newest.path
    })
  }

  /// The checkpoint folder that a path means; `newest` chooses one of a run's.
  static func resolve(
    _ path: String, newest: (String) throws(Failure) -> String
  ) throws(Failure) -> String {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    guard FileSystem.exists(path) else {
      throw Failure(.missingInput, "\(path): no such checkpoint, run directory or file")
    }
    if FileSystem.exists(path + "/" + Format.dataFile) { return path }
    if FileSystem.exists(path + "/checkpoints") { return try newest(path + "/checkpoints") }
    if path.hasSuffix("/" + Format.dataFile) || path == Format.dataFile {
      let folder = String(path.dropLast(Format.dataFile.count + 1))
      return folder.isEmpty ? (path.hasPrefix("/") ? "/" : ".") : folder
    }
    throw Failure(
      .badData,
      "\(path): is neither a checkpoint folder, nor a \(Format.dataFile), nor a run directory")
  }

  /// Copies a range of a vector, in flat order, out of the file.
  ///
  /// Throws: `Failure` (.badData, .inputOutput) when the disk fails.
  /// Precondition: the checkpoint has that vector (`hasMoments`).
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
    for entry in expected.entries {
      guard let found = layout[entry.name] else {
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

  /// Names in flat order with the shapes the datasets have.
  private static func layout(in file: borrowing File) throws(Failure) -> ParameterLayout {
    var layout = ParameterLayout()
    for name in try file.readTexts(Format.tensorOrder) {
      let dataset = try file.dataset(StateVector.parameters.group + "/" + name)
      layout.append(name, dataset.shape, .constant(0))
    }
    guard layout.count == (try file.integerAttribute("parameter_count")) else {
      throw Failure(
        .badData, "\(file.path): its tensors have \(layout.count) elements, it claims another count")
    }
    return layout
  }

  private static func spans(
    in file: borrowing File, _ layout: ParameterLayout, _ vectors: [StateVector]
  ) throws(Failure) -> [StateVector: [Skeleton.Span]] {
    var spans: [StateVector: [Skeleton.Span]] = [:]
    for vector in vectors {
      spans[vector] = []
      for entry in layout.entries where entry.count > 0 {
        let name = vector.group + "/" + entry.name
        let dataset = try file.dataset(name)
        guard dataset.type == .float32, dataset.shape == entry.shape, let offset = dataset.offset
        else {
          throw Failure(
            .badData,
            "\(file.path): \(escaped(name)) is not a contiguous float32 tensor of \(entry.shape)")
        }
        spans[vector]?.append(Skeleton.Span(range: entry.range, offset: offset))
      }
    }
    return spans
  }
}
