import CZlib
import Core

/// Undoes gzip, a run of bytes at a time; here because zlib has its Swift face here.
package struct Inflation: ~Copyable {
  private let path: String
  /// Owned; zlib keeps its address.
  private let stream: UnsafeMutablePointer<z_stream>
  private var output = [UInt8](repeating: 0, count: 256 << 10)
  /// Whether the last member has ended; further ones may follow, whose texts are one with it.
  private var isComplete = true

  /// The two bytes that every gzip file begins with.
  package static let magic: [UInt8] = [0x1F, 0x8B]

  /// - Parameter path: whose bytes they are, for messages.
  /// Throws: `Failure` (.internal) when memory is out.
  package init(path: String) throws(Failure) {
    self.path = path
    stream = .allocate(capacity: 1)
    stream.initialize(to: z_stream())
    // 15 bits of window, and 16 for gzip's own header and checksum.
    let code = inflateInit2_(stream, 15 + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size))
    guard code == Z_OK else { throw Failure(.internal, "\(path): no memory to uncompress it") }
  }

  deinit {
    inflateEnd(stream)
    stream.deallocate()
  }

  /// Hands what comes out of a run of compressed bytes to `body`, bit by bit.
  ///
  /// Throws: `Failure` (.badData) for what is not gzip or fails its checksum; what `body` throws.
  package mutating func add(
    _ bytes: [UInt8], _ body: (ArraySlice<UInt8>) throws(Failure) -> Void
  ) throws(Failure) {
    var (consumed, produced) = (0, 0)
    // A full output may hide more of it.
    while consumed < bytes.count || produced == output.count {
      if isComplete {
        if consumed == bytes.count { return }
        // What pads the end of a tape or a disk block is nobody's text.
        if bytes[consumed...].allSatisfy({ $0 == 0 }) { return }
        inflateReset(stream)
        isComplete = false
      }
      var code = Z_OK
      let room = output.count
      let target = stream
      bytes.withUnsafeBytes { input in
        output.withUnsafeMutableBytes { output in
          let first = input.baseAddress?.assumingMemoryBound(to: UInt8.self)
          target.pointee.next_in = UnsafeMutablePointer(mutating: first?.advanced(by: consumed))
          target.pointee.avail_in = UInt32(input.count - consumed)
          target.pointee.next_out = output.baseAddress?.assumingMemoryBound(to: UInt8.self)
          target.pointee.avail_out = UInt32(room)
          code = inflate(target, Z_NO_FLUSH)
          consumed = input.count - Int(target.pointee.avail_in)
          produced = room - Int(target.pointee.avail_out)
        }
      }
      guard code == Z_OK || code == Z_STREAM_END || code == Z_BUF_ERROR else {
        throw Failure(
          .badData, "\(path): expected text compressed by gzip, found damaged or other bytes")
      }
      isComplete = code == Z_STREAM_END
      if produced > 0 { try body(output[..<produced]) }
    }
  }

  /// Throws: `Failure` (.badData) when the bytes have ended before the text.
  package func finish() throws(Failure) {
    guard isComplete else {
      throw Failure(.badData, "\(path): expected more of a gzip file, found its end; copy it again")
    }
  }
}
