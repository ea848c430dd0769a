import Core
import Foundation
import Synchronization

/// A dataset of a `StoredFile`: what it holds and how to read it.
package struct StoredDataset: Sendable {
  package let shape: [Int]
  package let type: ElementType
  /// Byte offset of the first element in the file, when the elements are one unfiltered run there.
  package let offset: Int?
  package let storage: Storage

  private let object: Structure.Object
  private let file: StoredFile
  /// nil unless the elements are in chunks.
  private let grid: ChunkGrid?
  private let lastBand = LastBand()

  package var count: Int { shape.reduce(1, *) }

  init(_ object: Structure.Object, in file: StoredFile) {
    self.object = object
    self.file = file
    shape = object.shape
    type = object.type ?? .other("unknown")
    offset = object.offset.map { file.base + $0 }
    storage = object.chunks == nil ? .contiguous : .compressed
    grid = object.chunks.flatMap { ChunkGrid(shape: object.shape, chunk: $0.shape) }
  }

  /// Reads the elements of a range of the row-major order into memory the caller owns.
  ///
  /// Throws: `Failure(.badData)` when the file is damaged or the stored type does not fit in `T`.
  package func read<T: Element>(
    _ range: Range<Int>, into destination: UnsafeMutableBufferPointer<T>
  ) throws(Failure) {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "range outside the dataset")
    precondition(range.count == destination.count, "destination of another size")
    guard type.fits(in: T.elementType) else {
      throw file.failure(
        object.path, "holds \(type) elements where \(T.elementType) ones were expected")
    }
    guard !range.isEmpty else { return }
    if type == T.elementType {
      try readBytes(range, into: UnsafeMutableRawBufferPointer(destination))
      return
    }
    // Narrow elements are widened block by block.
    let block = 1 << 20
    var start = range.lowerBound
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: min(block, range.count) * type.byteCount, alignment: 16)
    defer { bytes.deallocate() }
    while start < range.upperBound {
      let part = start..<min(start + block, range.upperBound)
      let used = UnsafeMutableRawBufferPointer(rebasing: bytes[..<(part.count * type.byteCount)])
      try readBytes(part, into: used)
      let from = start - range.lowerBound
      widen(used, into: UnsafeMutableBufferPointer(rebasing: destination[from..<from + part.count]))
      start = part.upperBound
    }
  }

  /// Reads a range of the row-major order.
  package func read<T: Element>(
    _ range: Range<Int>, as _: T.Type = T.self
  ) throws(Failure) -> [T] {
    var values = [T](repeating: .zero, count: range.count)
    try values.withUnsafeMutableBufferPointer { buffer in
      Result { () throws(Failure) in try read(range, into: buffer) }
    }.get()
    return values
  }

  /// Reads all elements in row-major order.
  package func read<T: Element>(as _: T.Type = T.self) throws(Failure) -> [T] {
    try read(0..<count)
  }

  private func readBytes(
    _ range: Range<Int>, into destination: UnsafeMutableRawBufferPointer
  ) throws(Failure) {
    let size = type.byteCount
    if let offset {
      try file.file.read(into: destination, at: offset + range.lowerBound * size)
      return
    }
    guard let grid else {
      guard let fill = object.fill else {
        throw file.failure(object.path, "has no elements stored")
      }
      return copy(fill, allOver: destination)
    }
    var start = range.lowerBound
    while start < range.upperBound {
      let band = grid.band(of: start)
      let elements = grid.elements(ofBand: band)
      let part = start..<min(elements.upperBound, range.upperBound)
      let target = (start - range.lowerBound) * size
      let piece = UnsafeMutableRawBufferPointer(
        rebasing: destination[target..<target + part.count * size])
      if part == elements {
        try unpack(band, of: grid, into: piece)
      } else {
        let first = (start - elements.lowerBound) * size
        try lastBand.withBytes(of: band, byteCount: elements.count * size) {
          (bytes: UnsafeMutableRawBufferPointer) throws(Failure) in
          try unpack(band, of: grid, into: bytes)
        } body: { bytes in
          piece.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: bytes[first..<first + piece.count]))
        }
      }
      start = part.upperBound
    }
  }

  /// Puts the elements of a band in their order.
  private func unpack(
    _ band: Int, of grid: ChunkGrid, into destination: UnsafeMutableRawBufferPointer
  ) throws(Failure) {
    guard let chunks = object.chunks else { return }
    let size = type.byteCount
    let decoder = ChunkDecoder(filters: chunks.filters, elementByteCount: size)
    let numbers = grid.chunks(ofBand: band)
    if let fill = object.fill, numbers.contains(where: { chunks.places[3 * $0 + 1] == 0 }) {
      copy(fill, allOver: destination)
    }
    for number in numbers {
      let (address, byteCount) = (chunks.places[3 * number], chunks.places[3 * number + 1])
      guard byteCount > 0 else { continue }
      let stored = try file.file.read(byteCount: byteCount, at: file.base + address)
      guard
        let bytes = decoder.decode(
          stored, skipping: chunks.places[3 * number + 2],
          byteCount: grid.chunkElementCount * size)
      else {
        let place = grid.start(ofChunk: number)
        throw file.failure(object.path, "cannot read: its chunk at \(place) is damaged")
      }
      bytes.withUnsafeBytes { source in
        grid.forEachRun(ofChunk: number) { inChunk, inBand, count in
          let run = source[inChunk * size..<(inChunk + count) * size]
          UnsafeMutableRawBufferPointer(
            rebasing: destination[inBand * size..<(inBand + count) * size]
          ).copyMemory(from: UnsafeRawBufferPointer(rebasing: run))
        }
      }
    }
  }

  private func widen<T: Element>(
    _ bytes: UnsafeMutableRawBufferPointer, into destination: UnsafeMutableBufferPointer<T>
  ) {
    func fill<Stored: BinaryInteger>(_: Stored.Type) {
      for (index, value) in bytes.bindMemory(to: Stored.self).enumerated() {
        destination[index] = T.widened(Int64(value))
      }
    }
    switch type {
    case .int8: fill(Int8.self)
    case .uint8: fill(UInt8.self)
    case .int16: fill(Int16.self)
    case .uint16: fill(UInt16.self)
    case .int32: fill(Int32.self)
    case .uint32: fill(UInt32.self)
    case .float32:
      for (index, value) in bytes.bindMemory(to: Float.self).enumerated() {
        destination[index] = T.widened(Double(value))
      }
    case .int64, .uint64, .float64, .string, .other:
      preconditionFailure("\(type) elements fit only in themselves")
    }
  }
}

/// The band that was read last in part: the rest of it is what a reader asks for next.
private final class LastBand: Sendable {
  private let held = Mutex<(band: Int, bytes: [UInt8])?>(nil)

  /// Runs `body` with the bytes of a band, which `unpack` gives where they are not held.
  func withBytes(
    of band: Int, byteCount: Int,
    unpack: (UnsafeMutableRawBufferPointer) throws(Failure) -> Void,
    body: (UnsafeRawBufferPointer) -> Void
  ) throws(Failure) {
    try held.withLock { held throws(Failure) in
      if held?.band != band {
        // Not two at once.
        held = nil
        var bytes = [UInt8](repeating: 0, count: byteCount)
        try bytes.withUnsafeMutableBytes { raw in
          Result { () throws(Failure) in try unpack(raw) }
        }.get()
        held = (band, bytes)
      }
      if let bytes = held?.bytes { bytes.withUnsafeBytes(body) }
    }
  }
}

/// Fills memory with a pattern, again and again.
private func copy(_ pattern: [UInt8], allOver destination: UnsafeMutableRawBufferPointer) {
  destination.copyBytes(from: pattern.prefix(destination.count))
  var done = min(pattern.count, destination.count)
  while done < destination.count {
    let more = min(done, destination.count - done)
    UnsafeMutableRawBufferPointer(rebasing: destination[done..<done + more])
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: destination[..<more]))
    done += more
  }
}
