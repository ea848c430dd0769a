import Core

/// One side of a pair on one line, with what the filters ask of it.
package struct LineText {
  /// UTF-8; white space and control characters are single spaces, none at either end.
  package private(set) var bytes: [UInt8] = []
  /// Characters, in Unicode's sense of scalars.
  package private(set) var scalarCount = 0
  /// Whether NFKC normalisation is known to leave the text as it is.
  private(set) var isNormal = true

  var isEmpty: Bool { bytes.isEmpty }

  package init() {}

  package var text: String { String(decoding: bytes, as: UTF8.self) }

  /// Equal for texts that are the same after NFKC normalisation: `TextPair.identity`.
  package var identity: Digest { isNormal ? Digest(of: bytes) : TextPair.identity(of: text) }

  /// Takes another line.
  ///
  /// Returns: whether it was UTF-8.
  package mutating func take(_ line: [UInt8]) -> Bool {
    let look = Look(line)
    if !look.isASCII || !look.isOnOneLine {
      guard let text = String(validating: line, as: UTF8.self) else { return false }
      if !look.isOnOneLine {
        let clean = TextPair.onOneLine(text)
        bytes.removeAll(keepingCapacity: true)
        bytes.append(contentsOf: clean.utf8)
        scalarCount = clean.unicodeScalars.count
        isNormal = look.isNormal
        return true
      }
    }
    bytes.removeAll(keepingCapacity: true)
    bytes.append(contentsOf: line)
    scalarCount = look.scalarCount
    isNormal = look.isNormal
    return true
  }

  /// What one pass over the bytes of most lines can tell; when in doubt, it says no.
  private struct Look {
    var scalarCount = 0
    var isASCII = true
    /// Whether putting it on one line changes nothing.
    var isOnOneLine = true
    var isNormal = true

    init(_ line: [UInt8]) {
      var followsSpace = true
      var index = 0
      while index < line.count {
        let byte = line[index]
        index += 1
        if byte < 0x80 {
          scalarCount += 1
          if byte <= 0x20 {
            if byte != 0x20 || followsSpace { isOnOneLine = false }
            followsSpace = true
          } else {
            if byte == 0x7F { isOnOneLine = false }
            followsSpace = false
          }
          continue
        }
        isASCII = false
        followsSpace = false
        guard byte >= 0xC0 else { continue }
        scalarCount += 1
        let second = index < line.count ? line[index] : 0
        let third = index + 1 < line.count ? line[index + 1] : 0
        judge(byte, second, third)
      }
      if followsSpace && !line.isEmpty { isOnOneLine = false }
    }

    /// Looks at a character of several bytes. Normal are: letters of Latin-1 and Latin Extended-A
    /// without a compatibility form, Russian ones, some signs, quotation marks and dashes.
    private mutating func judge(_ first: UInt8, _ second: UInt8, _ third: UInt8) {
      switch first {
      case 0xC2:
        if second <= 0xA0 { isOnOneLine = false }
        switch second {
        case 0xA7, 0xA9, 0xAB, 0xAE, 0xB0, 0xB7, 0xBB: break
        default: isNormal = false
        }
      case 0xC3, 0xD0: break
      case 0xC4: if second > 0xB1, second < 0xB4 || second > 0xBE { isNormal = false }
      case 0xC5: if second == 0x80 || second == 0x89 || second == 0xBF { isNormal = false }
      case 0xD1: if second > 0x9F { isNormal = false }
      case 0xE2: judgePunctuation(second, third)
      case 0xE1, 0xE3, 0xEF:
        isNormal = false
        isOnOneLine = false
      default: isNormal = false
      }
    }

    /// U+2000 to U+2FFF.
    private mutating func judgePunctuation(_ second: UInt8, _ third: UInt8) {
      switch (second, third) {
      case (0x80, 0x93), (0x80, 0x94), (0x80, 0x98...0x9A), (0x80, 0x9C...0x9E), (0x80, 0xA2),
        (0x82, 0xAC):
        break
      case (0x80, 0x80...0x8F), (0x80, 0xA8), (0x80, 0xA9), (0x80, 0xAF), (0x81, 0x9F),
        (0x96, 0x81):
        isNormal = false
        isOnOneLine = false
      default: isNormal = false
      }
    }
  }
}

/// Both sides of a pair, with the filters of `TextPair`.
struct LinePair {
  var source = LineText()
  var target = LineText()

  var hasEmptySide: Bool { source.isEmpty || target.isEmpty }
  var isLopsided: Bool {
    TextPair.isLopsided(source.scalarCount, target.scalarCount)
  }
  var texts: TextPair { TextPair(source: source.text, target: target.text) }
}
