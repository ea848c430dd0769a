import CZlib
import Foundation

/// Undoes what was done to a chunk before it was stored, with memory bounded by what must come out.
struct ChunkDecoder {
  /// In the order in which they were applied.
  let filters: [ChunkFilter]
  let elementByteCount: Int

  private static let checksumByteCount = 4

  /// The chunk's elements, or nil when they are not exactly `byteCount` bytes with their checksum.
  ///
  /// - Parameter mask: bit i is set when filter i was left out for this chunk.
  func decode(_ stored: [UInt8], skipping mask: Int, byteCount: Int) -> [UInt8]? {
    var bytes = stored
    for (index, filter) in filters.enumerated().reversed() where mask & 1 << index == 0 {
      switch filter {
      case .checksum:
        guard let checked = ChunkDecoder.withoutChecksum(bytes) else { return nil }
        bytes = checked
      case .deflate:
        let limit = byteCount + ChunkDecoder.checksumByteCount
        guard let inflated = ChunkDecoder.inflated(bytes, limit: limit) else { return nil }
        bytes = inflated
      case .shuffle: bytes = unshuffled(bytes)
      }
    }
    return bytes.count == byteCount ? bytes : nil
  }

  private static func inflated(_ bytes: [UInt8], limit: Int) -> [UInt8]? {
    var count = uLongf(limit)
    var code = Z_DATA_ERROR
    let result = [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
      code = uncompress(buffer.baseAddress, &count, bytes, uLong(bytes.count))
      initialized = code == Z_OK ? Int(count) : 0
    }
    return code == Z_OK ? result : nil
  }

  /// Byte b of all elements lies together, before byte b + 1.
  private func unshuffled(_ bytes: [UInt8]) -> [UInt8] {
    let size = elementByteCount
    guard size > 1 else { return bytes }
    let count = bytes.count / size
    return [UInt8](unsafeUninitializedCapacity: bytes.count) { result, initialized in
      bytes.withUnsafeBufferPointer { bytes in
        for place in 0..<size {
          for index in 0..<count { result[index * size + place] = bytes[place * count + index] }
        }
        for index in count * size..<bytes.count { result[index] = bytes[index] }
      }
      initialized = bytes.count
    }
  }

  private static func withoutChecksum(_ bytes: [UInt8]) -> [UInt8]? {
    guard bytes.count >= checksumByteCount else { return nil }
    let content = bytes.count - checksumByteCount
    let stored = bytes[content...].reversed().reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
    let found = bytes.withUnsafeBufferPointer { fletcher32($0[..<content]) }
    return stored == found ? Array(bytes[..<content]) : nil
  }

  /// HDF5's Fletcher-32: sums of big-endian 16-bit words modulo 65535, an odd last byte as a high
  /// one.
  ///
  /// Source: the HDF5 File Format Specification, "Fletcher32 filter"; Fletcher, 1982.
  static func fletcher32(_ bytes: Slice<UnsafeBufferPointer<UInt8>>) -> UInt32 {
    var (first, second) = (UInt32(0), UInt32(0))
    func folded(_ sum: UInt32) -> UInt32 { (sum & 0xffff) + (sum >> 16) }
    var index = bytes.startIndex
    while index < bytes.endIndex {
      // As many words as the sums hold without overflow.
      let end = min(index + 720, bytes.endIndex)
      while index + 1 < end {
        first &+= UInt32(bytes[index]) << 8 | UInt32(bytes[index + 1])
        second &+= first
        index += 2
      }
      if index < end {
        first &+= UInt32(bytes[index]) << 8
        second &+= first
        index += 1
      }
      first = folded(first)
      second = folded(second)
    }
    return folded(second) << 16 | folded(first)
  }
}
