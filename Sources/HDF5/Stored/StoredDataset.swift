import Core
import Foundation

/// A dataset of a `StoredFile`: what it holds and how to read it.
package struct StoredDataset: Sendable {
  package let shape: [Int]
  package let type: ElementType
  /// Byte offset of the first element in the file, when the elements are one unfiltered run there.
  package let offset: Int?
  package let storage: Storage

  private let object: Structure.Object
  private let file: StoredFile

  package var count: Int { shape.reduce(1, *) }

  init(_ object: Structure.Object, in file: StoredFile) {
    self.object = object
    self.file = file
    shape = object.shape
    type = object.type ?? .other("unknown")
    offset = object.offset
    storage = object.chunks == nil ? .contiguous : .compressed
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
    guard let chunks = object.chunks else {
      throw file.failure(object.path, "has no elements stored")
    }
    let decoder = ChunkDecoder(filters: chunks.filters, elementByteCount: size)
    let inRow = (chunks.rowElementCount - 1) / chunks.elementCount + 1
    var start = range.lowerBound
    while start < range.upperBound {
      let (row, column) = start.quotientAndRemainder(dividingBy: chunks.rowElementCount)
      let (index, skipped) = column.quotientAndRemainder(dividingBy: chunks.elementCount)
      let place = 3 * (row * inRow + index)
      let stored = try file.file.read(
        byteCount: chunks.places[place + 1], at: chunks.places[place])
      guard
        let bytes = decoder.decode(
          stored, skipping: chunks.places[place + 2], byteCount: chunks.elementCount * size)
      else { throw file.failure(object.path, "cannot read: its chunk at \(start) is damaged") }
      let left = min(chunks.elementCount, chunks.rowElementCount - index * chunks.elementCount)
      let count = min(left - skipped, range.upperBound - start)
      let target = (start - range.lowerBound) * size
      bytes.withUnsafeBytes { source in
        UnsafeMutableRawBufferPointer(rebasing: destination[target..<target + count * size])
          .copyMemory(
            from: UnsafeRawBufferPointer(
              rebasing: source[skipped * size..<(skipped + count) * size]))
      }
      start += count
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
