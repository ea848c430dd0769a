import Core
import Foundation
import HDF5
import Models
import Tensors

/// What a save has published.
package struct SavedCheckpoint: Sendable {
  /// The checkpoint's folder.
  package let path: String
  package let byteCount: Int
  package let seconds: Double
}

/// Writes one checkpoint: beside its final place, durably and read back, then there at once.
struct CheckpointWriter {
  let header: CheckpointHeader
  let layout: ParameterLayout
  let hasMoments: Bool
  /// Digest of the manifest of the checkpoint before.
  let previousDigest: String?

  private var vectors: [StateVector] { hasMoments ? StateVector.allCases : [.parameters] }

  /// Publishes the checkpoint at `path`, replacing one that is there, after `prepare` has not objected.
  ///
  /// Order: reserve the room, write, sync, read back and compare, the same for the manifest, rename
  /// the folder, sync its parent.
  /// Throws: `Failure` (.cannotCreate, .inputOutput, or what the source throws); temporaries are gone
  /// and what was there is untouched.
  func write(
    to path: String, temporary: String, from source: some StateSource,
    after prepare: () throws(Failure) -> Void
  ) throws(Failure) -> SavedCheckpoint {
    let stopwatch = Stopwatch()
    var pull = Pull(source: source, vectors: vectors, count: layout.count)
    do throws(Failure) {
      try prepare()
      try FileSystem.remove(temporary)
      try FileSystem.createFolder(temporary)
      let manifest = try writeData(temporary, &pull)
      let manifestPath = temporary + "/" + Format.manifestFile
      try FileSystem.writeAtomically(try manifest.encoded(), to: manifestPath)
      guard try Manifest(readingFrom: manifestPath).blocks == manifest.blocks else {
        throw Failure(.inputOutput, "\(manifestPath): reads back as other bytes than written")
      }
      try FileSystem.exchange(temporary, with: path)
      // What was replaced, if anything; a leftover is removed by the next save.
      try? FileSystem.remove(temporary)
      return SavedCheckpoint(
        path: path, byteCount: manifest.fileByteCount, seconds: stopwatch.seconds)
    } catch {
      try? FileSystem.remove(temporary)
      pull.drain()
      throw error
    }
  }

  private func writeData(
    _ folder: String, _ pull: inout Pull<some StateSource>
  ) throws(Failure) -> Manifest {
    let file = try OpenFile(creating: folder + "/" + Format.dataFile)
    // Before libhdf5 draws anything: a disk without room is noticed here.
    try file.reserve(
      byteCount: Skeleton.estimatedByteCount(header, layout: layout, vectors: vectors))
    let skeleton = try Skeleton.draw(
      header, layout: layout, vectors: vectors, fallbackFolder: folder)
    try file.reserve(byteCount: skeleton.byteCount)
    var blocks: [Manifest.Block] = []
    for (offset, bytes) in skeleton.metadata {
      try bytes.withUnsafeBytes { raw in
        Result { () throws(Failure) in try write(raw, at: offset, to: file, &blocks) }
      }.get()
    }
    while let piece = try pull.next() {
      try write(piece, skeleton.spans[piece.vector] ?? [], to: file, &blocks)
    }
    try file.sync()
    file.forgetCachedBytes()
    blocks.sort { $0.offset < $1.offset }
    let manifest = Manifest(
      header: header, previousDigest: previousDigest, fileByteCount: skeleton.byteCount,
      blocks: blocks)
    do throws(Failure) {
      try manifest.verify(file)
    } catch {
      throw Failure(.inputOutput, "read back after writing: \(error.message)")
    }
    return manifest
  }

  /// Writes the parts of a piece that lie in different tensors to their places.
  private func write(
    _ piece: Piece, _ spans: [Skeleton.Span], to file: borrowing OpenFile,
    _ blocks: inout [Manifest.Block]
  ) throws(Failure) {
    for span in spans.overlapping(piece.range) {
      let part = span.range.clamped(to: piece.range)
      let start = part.lowerBound - piece.range.lowerBound
      let offset = span.offset + (part.lowerBound - span.range.lowerBound) * 4
      try write(
        piece.values[start..<start + part.count].bytes, at: offset, to: file, &blocks)
    }
  }

  private func write(
    _ bytes: UnsafeRawBufferPointer, at offset: Int, to file: borrowing OpenFile,
    _ blocks: inout [Manifest.Block]
  ) throws(Failure) {
    // The digest is of what is in memory, so that the read back catches what went wrong below.
    blocks.append(
      Manifest.Block(
        offset: offset, length: bytes.count, digest: Digest(of: bytes).description))
    try file.write(bytes, at: offset)
  }
}

/// One pulled range of one vector; valid until the next is pulled.
private struct Piece {
  let vector: StateVector
  let range: Range<Int>
  let values: Vector
}

/// Pulls the pieces of a save one by one and, after a failure, the rest of them, because partners may be
/// waiting to send them.
private struct Pull<Source: StateSource>: ~Copyable {
  private let source: Source
  private var waiting: [(vector: StateVector, range: Range<Int>)]
  private let buffer: FloatBuffer

  init(source: Source, vectors: [StateVector], count: Int) {
    self.source = source
    // Reversed: the next one is the last.
    waiting = vectors.flatMap { vector in
      StateVector.pieces(of: count).map { (vector, $0) }
    }.reversed()
    buffer = FloatBuffer(count: min(count, StateVector.pieceCount))
  }

  mutating func next() throws(Failure) -> Piece? {
    guard let (vector, range) = waiting.popLast() else { return nil }
    let values = buffer.view[0..<range.count]
    do throws(Failure) {
      try source.read(range, of: vector, into: values)
    } catch {
      waiting = []
      throw error
    }
    return Piece(vector: vector, range: range, values: values)
  }

  mutating func drain() {
    // The save has failed already; a second failure adds nothing and ends the sequence.
    while let _ = try? next() {}
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
