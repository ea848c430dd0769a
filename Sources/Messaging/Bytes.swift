/// Doubles as the bytes of a message, bit by bit.
enum Bytes {
  static func of(_ values: [Double]) -> [UInt8] {
    values.withUnsafeBytes { Array($0) }
  }

  static func doubles(_ bytes: [UInt8]) -> [Double] {
    precondition(bytes.count % 8 == 0, "a message of doubles has whole doubles")
    return bytes.withUnsafeBytes { raw in
      (0..<bytes.count / 8).map { raw.loadUnaligned(fromByteOffset: 8 * $0, as: Double.self) }
    }
  }
}
