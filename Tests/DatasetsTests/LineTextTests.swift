import Core
import Datasets
import Testing

/// The one look at a line's bytes against what is said of its characters.
@Suite struct LineTextTests {
  private func check(_ text: String) {
    var line = LineText()
    let isText = line.take(Array(text.utf8))
    let expected = TextPair.onOneLine(text)
    let name = text.unicodeScalars.map { String($0.value, radix: 16) }.joined(separator: " ")
    #expect(isText)
    #expect(line.text == expected && line.bytes == Array(expected.utf8), "\(name)")
    #expect(line.scalarCount == expected.unicodeScalars.count, "\(name)")
    #expect(line.identity == TextPair.identity(of: expected), "\(name)")
  }

  @Test func everyCharacterIsTakenAsTextPairTakesIt() {
    for value in (0 as UInt32)...0xFFFF {
      guard let scalar = Unicode.Scalar(value) else { continue }
      check("a\(Character(scalar))b")
    }
    for value in stride(from: 0x10000 as UInt32, to: 0x110000, by: 61) {
      if let scalar = Unicode.Scalar(value) { check("a\(Character(scalar))b") }
    }
  }

  /// What composes with a character before it is found wherever it stands.
  @Test func combinedCharactersAreNormalised() {
    for first in ["e", "é", "ü", "и", "Ā", "ő", "“"] {
      for mark in ["\u{301}", "\u{308}", "\u{306}", "\u{345}", "\u{327}"] {
        check(first + mark)
        check("x \(first)\(mark) y")
      }
    }
  }

  @Test(arguments: ["", " ", "  a", "a  ", "a  b", "a\tb", "\u{7F}", "a \u{200B} b", "\r", "a\r"])
  func spacesBecomeSingle(text: String) { check(text) }

  @Test(arguments: [[0xFF], [0x61, 0xC3], [0xE2, 0x80], [0xC0, 0x80], [0xED, 0xA0, 0x80]])
  func whatIsNotUTF8IsNotTaken(bytes: [UInt8]) {
    for start in ["", "a  ", "ä"] {
      var line = LineText()
      let isText = line.take(Array(start.utf8) + bytes)
      #expect(!isText)
    }
  }
}
