import Core
import Foundation
import HDF5
import Layers
import Tensors

/// A checkpoint that is being written: its folder beside the final place, and where in its file
/// every byte goes. Whoever knows the draft can write a part of it.
struct Draft: Sendable {
  /// As rank 0 reaches it, and so every rank: all were given one run directory.
  let folder: String
  let byteCount: Int
  /// Tensors with elements, in flat order.
  let spans: [StateVector: [Skeleton.Span]]

  var dataPath: String { folder + "/" + Format.dataFile }

  /// Creates the folder and the file, takes its room from the disk, and writes all that is not a
  /// tensor.
  ///
  /// Throws: `Failure` (.cannotCreate, .inputOutput); the folder is gone then, unless it holds
  /// something that Lockstep did not write.
  static func begin(
    _ header: CheckpointHeader, layout: ParameterLayout, hasMoments: Bool, at folder: String
  ) throws(Failure) -> (draft: Draft, blocks: [Manifest.Block]) {
    let vectors = hasMoments ? StateVector.allCases : [.parameters]
    try clear(folder)
    try FileSystem.createNewFolder(folder)
    do throws(Failure) {
      let path = folder + "/" + Format.dataFile
      let file = try OpenFile(creating: path)
      // Before libhdf5 draws anything: a disk without room is noticed here.
      try file.reserve(
        byteCount: Skeleton.estimatedByteCount(header, layout: layout, vectors: vectors))
      let skeleton = try Skeleton.draw(
        header, layout: layout, vectors: vectors, fallbackFolder: folder)
      try file.reserve(byteCount: skeleton.byteCount)
      let draft = Draft(folder: folder, byteCount: skeleton.byteCount, spans: skeleton.spans)
      var part = DraftPart(of: draft, file: file)
      for (offset, bytes) in skeleton.metadata {
        try bytes.withUnsafeBytes { raw in
          Result { () throws(Failure) in try part.write(raw, at: offset) }
        }.get()
      }
      return (draft, try part.finish())
    } catch {
      try? FileSystem.remove(folder)
      throw error
    }
  }

  /// Writes runs of vectors to their places and reads them back.
  ///
  /// - Parameter isCancelled: asked before each block; true ends the work early.
  /// Throws: `Failure`; the other parts of the file are untouched.
  func write(
    _ pieces: [OwnedPiece], isCancelled: () -> Bool = { false }
  ) throws(Failure) -> [Manifest.Block] {
    guard !pieces.isEmpty else { return [] }
    var part = DraftPart(of: self, file: try openData())
    for piece in pieces {
      for range in StateVector.pieces(of: piece.range.count) {
        if isCancelled() { return [] }
        let start = piece.range.lowerBound
        try part.write(
          piece.values[range], start + range.lowerBound..<start + range.upperBound,
          of: piece.vector)
      }
    }
    return try part.finish()
  }

  private func openData() throws(Failure) -> OpenFile {
    try OpenFile(
      own: FileSystem.name(of: folder) + "/" + Format.dataFile,
      below: FileSystem.parent(of: folder), for: .updating)
  }

  /// Pulls every element from a source, writes it to its place and reads it back.
  func write(from source: some StateSource) throws(Failure) -> [Manifest.Block] {
    var part = DraftPart(of: self, file: try openData())
    let buffer = FloatBuffer(count: StateVector.pieceCount)
    for vector in StateVector.allCases {
      for range in StateVector.pieces(of: spans[vector]?.last?.range.upperBound ?? 0) {
        let values = buffer.view[0..<range.count]
        try source.read(range, of: vector, into: values)
        try part.write(values, range, of: vector)
      }
    }
    return try part.finish()
  }

  /// Writes the manifest of the finished file and moves the folder to its place, replacing the
  /// checkpoint that is there; what else is in that folder moves into the new one.
  ///
  /// Order: `permit` is asked last; manifest, sync, rename of the folder, sync of its parent.
  /// Throws: `Failure`; what was at `path` is still there or, where the disk failed in the last
  /// moment, aside until the next save (`settle`), and never under the draft's name. A draft that
  /// is whole and only cannot be moved stays, and the message names it.
  func publish(
    _ header: CheckpointHeader, _ manifest: Manifest, at path: String,
    permit: () throws(Failure) -> Void
  ) throws(Failure) {
    guard manifest.describesEveryByte else {
      throw Failure(
        .internal, "\(dataPath): the ranks' parts leave gaps or overlap; nothing was published")
    }
    try requireReadable(header)
    let manifestPath = folder + "/" + Format.manifestFile
    try FileSystem.writeAtomically(try manifest.encoded(), to: manifestPath)
    guard try Manifest(readingFrom: manifestPath).blocks == manifest.blocks else {
      try? FileSystem.removeFile(manifestPath)
      throw Failure(.inputOutput, "\(manifestPath): reads back as other bytes than written")
    }
    do throws(Failure) {
      try permit()
    } catch {
      // Without it the draft is not whole, and goes.
      try? FileSystem.removeFile(manifestPath)
      throw error
    }
    do throws(Failure) {
      try FileSystem.exchange(folder, with: path)
    } catch {
      guard Draft.isWhole(folder) else { throw error }
      throw Failure(error.exitCode, "\(error.message); what was written is whole in \(folder)")
    }
    // What was replaced, if anything; what is left of it is removed by the next save.
    try? Draft.clear(folder, home: path)
  }

  /// Opens the file as a reader will: whatever went wrong while libhdf5 drew it has digests that
  /// fit.
  private func requireReadable(_ header: CheckpointHeader) throws(Failure) {
    let stored: StoredState
    do throws(Failure) {
      stored = try StoredState(in: try StoredFile.open(dataPath))
    } catch {
      throw Failure(.inputOutput, "read back after writing: \(error.message)")
    }
    guard stored.header == header, stored.spans == spans else {
      throw Failure(.inputOutput, "\(dataPath): reads back as another state than was written")
    }
  }
}

/// Writes a part of a draft's file, and proves at the end that the disk has it.
private struct DraftPart: ~Copyable {
  private let draft: Draft
  private let file: OpenFile
  private var blocks: [Manifest.Block] = []

  init(of draft: Draft, file: consuming OpenFile) {
    self.draft = draft
    self.file = file
  }

  /// Writes elements of a vector to their tensors.
  mutating func write(
    _ values: Vector, _ range: Range<Int>, of vector: StateVector
  ) throws(Failure) {
    for span in (draft.spans[vector] ?? []).overlapping(range) {
      let part = span.range.clamped(to: range)
      let start = part.lowerBound - range.lowerBound
      let offset = span.offset + (part.lowerBound - span.range.lowerBound) * 4
      try write(values[start..<start + part.count].bytes, at: offset, tensor: span.tensor)
    }
  }

  mutating func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int, tensor: String? = nil
  ) throws(Failure) {
    // The digest is of what is in memory, so that the read back catches what went wrong below.
    blocks.append(
      Manifest.Block(
        offset: offset, length: bytes.count, digest: Digest(of: bytes).description,
        tensor: tensor))
    try file.write(bytes, at: offset)
  }

  /// Syncs, reads back and compares.
  consuming func finish() throws(Failure) -> [Manifest.Block] {
    try file.sync()
    // In the order of the file and forgotten at once, so that the kernel reads ahead.
    blocks.sort { $0.offset < $1.offset }
    if let first = blocks.first, let last = blocks.last {
      file.forgetCachedBytes(
        at: first.offset, byteCount: last.offset + last.length - first.offset)
    }
    let buffer = FloatBuffer(count: StateVector.pieceCount)
    for block in blocks {
      guard try block.fits(file, buffer.view) else {
        throw Failure(
          .inputOutput,
          "\(file.path): reads back as other bytes than written (\(block.length) bytes at "
            + "\(block.offset))")
      }
    }
    return blocks
  }
}

extension [Skeleton.Span] {
  /// The spans, sorted by range, that share elements with `range`.
  func overlapping(_ range: Range<Int>) -> ArraySlice<Skeleton.Span> {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      let isBefore = self[middle].range.upperBound <= range.lowerBound
      (low, high) = isBefore ? (middle + 1, high) : (low, middle)
    }
    return self[low...].prefix { $0.range.lowerBound < range.upperBound }
  }
}
