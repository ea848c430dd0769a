import CXXHash

/// XXH3-128 of a run of bytes: fast enough for every byte of a checkpoint, not a cryptographic
/// seal.
package struct Digest: Hashable, Sendable, Codable, CustomStringConvertible {
  package let high: UInt64
  package let low: UInt64

  package init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  package init(of bytes: UnsafeRawBufferPointer) {
    let hash = XXH3_128bits(bytes.baseAddress, bytes.count)
    self.init(high: hash.high64, low: hash.low64)
  }

  package init(of bytes: [UInt8]) {
    self = bytes.withUnsafeBytes { Digest(of: $0) }
  }

  package init(of text: String) {
    self.init(of: Array(text.utf8))
  }

  /// Reads 32 hexadecimal digits; nil when the text is anything else.
  package init?(hexadecimal text: some StringProtocol) {
    // `UInt64` would take a sign for a digit.
    guard text.utf8.count == 32, text.allSatisfy(\.isHexDigit),
      let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
    else { return nil }
    self.init(high: high, low: low)
  }

  /// Reads the 16 bytes that `bytes` gives.
  ///
  /// Precondition: there are 16.
  package init(bytes: ArraySlice<UInt8>) {
    precondition(bytes.count == Self.byteCount, "a digest has 16 bytes")
    func word(_ bytes: ArraySlice<UInt8>) -> UInt64 { bytes.reduce(0) { $0 << 8 | UInt64($1) } }
    self.init(high: word(bytes.prefix(8)), low: word(bytes.suffix(8)))
  }

  package static let byteCount = 16

  /// In the order of the hexadecimal digits.
  package var bytes: [UInt8] {
    [high, low].flatMap { word in
      stride(from: 56, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> $0) }
    }
  }

  /// 32 hexadecimal digits.
  package var description: String { Digest.hexadecimal(high) + Digest.hexadecimal(low) }

  private static func hexadecimal(_ word: UInt64) -> String {
    let digits = String(word, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}
