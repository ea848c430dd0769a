import Core
import Foundation
import HDF5
import Layers

/// The shape of a checkpoint file before its tensors are in it: all of HDF5's own bytes and the
/// place of each tensor.
///
/// libhdf5 draws it as a sparse file on a memory file system, because it must not do the writing
/// that matters: on a full disk it crashes. The real file gets these bytes and the tensors by
/// checked writes of our own.
struct Skeleton: Sendable {
  /// A tensor's place.
  struct Span: Equatable, Sendable {
    /// Its path in the file.
    let tensor: String
    /// In the flat order of its vector.
    let range: Range<Int>
    /// Byte offset in the file.
    let offset: Int

    var byteRange: Range<Int> { offset..<offset + range.count * MemoryLayout<Float>.size }
  }

  let byteCount: Int
  /// Tensors with elements, in flat order.
  let spans: [StateVector: [Span]]
  /// The bytes outside all spans, ascending.
  let metadata: [(offset: Int, bytes: [UInt8])]

  /// Draws the file of a header and a layout; `fallbackFolder` is used when there is no memory file
  /// system with room.
  static func draw(
    _ header: CheckpointHeader, layout: ParameterLayout, vectors: [StateVector],
    fallbackFolder: String
  ) throws(Failure) -> Skeleton {
    let objects = layout.entries.count * vectors.count
    // About a kilobyte an object (names, object headers, B-tree and heap of its group), so that
    // all metadata lies in one block at the front; nothing depends on that but tidiness.
    let metadataByteCount = (objects << 10 + 1 << 16) & ~0xffff
    let path = try scratchPath(
      needing: metadataByteCount * 2 + header.embeddedByteCount, or: fallbackFolder)
    defer { unlink(path) }
    let file = try File.create(
      at: path,
      placement: .init(
        metadataBlockByteCount: metadataByteCount, alignment: 4096, alignmentThreshold: 64 << 10))
    // Without a name from here on: a killed process leaves nothing in memory.
    let drawn = try OpenFile(reading: path)
    unlink(path)
    try header.write(to: file, parameterCount: layout.count)
    try file.writeTexts(layout.entries.map(\.name), to: Format.tensorOrder)
    var spans: [StateVector: [Span]] = [:]
    for vector in vectors {
      try file.createGroup(vector.group)
      for entry in layout.entries {
        let name = vector.group + "/" + entry.name
        guard let offset = try file.reserve(.float32, shape: entry.shape, at: name) else {
          continue
        }
        spans[vector, default: []].append(Span(tensor: name, range: entry.range, offset: offset))
      }
    }
    try file.close()
    return try Skeleton(spans, reading: drawn)
  }

  private init(
    _ spans: [StateVector: [Span]], reading file: borrowing OpenFile
  ) throws(Failure) {
    let byteCount = try file.byteCount()
    var metadata: [(offset: Int, bytes: [UInt8])] = []
    var end = 0
    let ranges = spans.values.joined().map(\.byteRange).sorted { $0.lowerBound < $1.lowerBound }
    for range in ranges + [byteCount..<byteCount] {
      precondition(range.lowerBound >= end && range.upperBound <= byteCount, "tensors overlap")
      while end < range.lowerBound {
        let count = min(range.lowerBound - end, Manifest.blockByteLimit)
        metadata.append((end, try file.read(byteCount: count, at: end)))
        end += count
      }
      end = range.upperBound
    }
    self.spans = spans
    self.byteCount = byteCount
    self.metadata = metadata
  }

  /// What to reserve on the disk before anything else happens.
  static func estimatedByteCount(
    _ header: CheckpointHeader, layout: ParameterLayout, vectors: [StateVector]
  ) -> Int {
    layout.count * vectors.count * MemoryLayout<Float>.size + header.embeddedByteCount
  }

  static let scratchPrefix = "lockstep-skeleton-"
  /// Its name stands for milliseconds only, unless its process is killed just then.
  private static let leftoverSeconds = 600.0

  private static func removeLeftovers(in folder: String) {
    for name in (try? FileSystem.names(in: folder)) ?? [] where name.hasPrefix(scratchPrefix) {
      var status = stat()
      let path = folder + "/" + name
      guard lstat(path, &status) == 0,
        Date.now.timeIntervalSince1970 - Double(status.st_mtim.tv_sec) > leftoverSeconds
      else { continue }
      // Somebody else's cannot be removed, and a few kilobytes harm nobody.
      unlink(path)
    }
  }

  private static func scratchPath(
    needing byteCount: Int, or folder: String
  ) throws(Failure) -> String {
    for candidate in ["/dev/shm", folder] {
      guard access(candidate, W_OK) == 0,
        let free = FileSystem.freeByteCount(at: candidate), free >= byteCount
      else { continue }
      removeLeftovers(in: candidate)
      return "\(candidate)/\(scratchPrefix)\(getpid())-\(UUID().uuidString).h5"
    }
    throw Failure(
      .inputOutput,
      "\(folder): cannot save: neither it nor /dev/shm has \(byteCount) bytes free")
  }
}

extension CheckpointHeader {
  /// Bytes of what is embedded whole.
  var embeddedByteCount: Int {
    provenance.reduce(configurationYAML.utf8.count + tokenizerModel.count) {
      $0 + $1.key.utf8.count + $1.value.utf8.count
    }
  }
}
