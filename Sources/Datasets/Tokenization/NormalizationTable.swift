/// Checks the table by which libsentencepiece replaces text: a double array of prefixes, whose
/// values are places in a run of texts that end with zeros.
///
/// Layout: the byte count of the array in 32 bits, the array in units of 32 bits, the texts. A unit
/// has an offset to the units of its children (bits 10 and up, times 256 with bit 9), whether it
/// ends a prefix (bit 8) and its own byte (bits 0 to 7; with bit 31 none). Children begin at its
/// place exclusive-or the offset: the child for a byte is there exclusive-or the byte; a prefix's
/// value, in 31 bits, is there itself.
///
/// Source: darts-clone, `DoubleArray::commonPrefixSearch`, which follows all that without a bound.
struct NormalizationTable {
  /// The library's own have a quarter of it.
  private static let byteLimit = 1 << 20
  /// Bytes of a prefix: the library has room for so many matches of one place.
  private static let depthLimit = 32
  /// Bytes of a replacement; U+FDFA becomes 33.
  private static let textByteLimit = 256

  private var units: [UInt32] = []
  private var texts: ArraySlice<UInt8> = []

  /// What is wrong with a table; nil when no text can lead out of it.
  static func refusal(of table: ArraySlice<UInt8>) -> String? {
    guard !table.isEmpty else { return nil }
    guard table.count <= byteLimit else { return "more than \(byteLimit) bytes" }
    guard let checker = NormalizationTable(table) else { return "an impossible size of its array" }
    return checker.refusal
  }

  private init?(_ table: ArraySlice<UInt8>) {
    func unit(at index: Int) -> UInt32 {
      (0..<4).reversed().reduce(0) { $0 << 8 | UInt32(table[index + $1]) }
    }
    guard table.count > 4 else { return nil }
    let start = table.startIndex + 4
    let byteCount = Int(unit(at: table.startIndex))
    // Whole blocks: wherever a node's children begin, the places for all bytes are there.
    guard byteCount > 0, byteCount % 1024 == 0, byteCount < table.count - 4 else { return nil }
    units = stride(from: start, to: start + byteCount, by: 4).map(unit)
    texts = table[(start + byteCount)...]
    guard texts.last == 0 else { return nil }
  }

  /// Goes all ways of the array, byte by byte as the library does.
  private var refusal: String? {
    var places = [children(of: 0)]
    // For each place, after how many bytes it was reached last.
    var depths = [Int](repeating: -1, count: units.count)
    for depth in 1...Self.depthLimit + 1 {
      var next: [Int] = []
      for place in places {
        guard units.indices.contains(place) else { return "a way out of its array" }
        let block = place & ~0xFF
        for child in block..<block + 256
        where units[child] & 0x8000_00FF == UInt32(child ^ place) {
          let target = children(of: child)
          guard units.indices.contains(target) else { return "a way out of its array" }
          if units[child] & 0x100 != 0, !isText(at: Int(units[target] & 0x7FFF_FFFF)) {
            return "a replacement that is no text"
          }
          if depths[target] < depth { next.append(target) }
          depths[target] = depth
        }
      }
      if next.isEmpty { return nil }
      places = next
    }
    return "a prefix longer than \(Self.depthLimit) bytes"
  }

  private func children(of place: Int) -> Int {
    let unit = units[place]
    return place ^ Int((unit >> 10) << ((unit & 0x200) >> 6))
  }

  private func isText(at place: Int) -> Bool {
    guard place < texts.count else { return false }
    let text = texts[(texts.startIndex + place)...].prefix(Self.textByteLimit + 1).prefix {
      $0 != 0
    }
    return text.count <= Self.textByteLimit && String(validating: text, as: UTF8.self) != nil
  }
}
