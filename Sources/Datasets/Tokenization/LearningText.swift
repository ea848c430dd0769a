/// The texts a vocabulary is learned from, as the trainer of libsentencepiece can take them: words
/// with how often they occur.
///
/// No piece reaches over a space, so the trainer itself goes from texts to their words first: it
/// learns the same from either, and words take memory by their variety instead of their number.
///
/// The trainer counts characters within a word in 16 bits and crashes beyond, and it leaves out,
/// without a word, every line with the character that it marks rare ones with. What is left out for
/// that is counted here.
struct LearningText {
  /// A word of so many bytes has at most 24,576 characters after normalisation: no character of
  /// UTF-8 grows to more than six a byte.
  static let wordByteLimit = 4096
  static let lineByteLimit = 1 << 20
  /// U+2585 in UTF-8.
  private static let reserved: [UInt8] = [0xE2, 0x96, 0x85]

  private(set) var words = WordTable()
  /// Texts that were learned from.
  private(set) var textCount = 0
  private(set) var omissions = Omissions()

  /// What the trainer never sees.
  struct Omissions: Equatable, Codable, Sendable {
    var words = 0
    var lines = 0
    /// Occurrences of U+2585.
    var reservedCharacters = 0

    static func + (a: Omissions, b: Omissions) -> Omissions {
      Omissions(
        words: a.words + b.words, lines: a.lines + b.lines,
        reservedCharacters: a.reservedCharacters + b.reservedCharacters)
    }
  }

  /// Adds the words of a text; between them are spaces, tabs and what must not stand in them.
  mutating func append(_ text: [UInt8]) {
    guard text.count <= Self.lineByteLimit else {
      omissions.lines += 1
      return
    }
    textCount += 1
    var start = 0
    var index = 0
    while index < text.count {
      let byte = text[index]
      if byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") {
        add(text[start..<index])
        index += 1
        start = index
      } else if byte == Self.reserved[0], text[index...].starts(with: Self.reserved) {
        omissions.reservedCharacters += 1
        add(text[start..<index])
        index += Self.reserved.count
        start = index
      } else {
        index += 1
      }
    }
    add(text[start...])
  }

  private mutating func add(_ word: ArraySlice<UInt8>) {
    guard !word.isEmpty else { return }
    guard word.count <= Self.wordByteLimit else {
      omissions.words += 1
      return
    }
    words.add(word)
  }

  /// Gives the words away and begins again without any.
  mutating func takeWords() -> WordTable {
    let taken = words
    words = WordTable()
    return taken
  }
}

extension LearningText.Omissions: CustomStringConvertible {
  /// For a person; empty when nothing was left out.
  var description: String {
    let limits = [
      (words, "words longer than \(LearningText.wordByteLimit) bytes"),
      (lines, "texts longer than \(LearningText.lineByteLimit) bytes"),
      (reservedCharacters, "times U+2585, which the trainer keeps for itself"),
    ]
    return limits.filter { $0.0 > 0 }.map { "\($0.0) \($0.1)" }.joined(separator: ", ")
  }
}
