/// The texts a vocabulary is learned from, as the trainer of libsentencepiece can take them.
///
/// The trainer counts characters within a word in 16 bits and crashes beyond, and it leaves out,
/// without a word, every line with the character that it marks rare ones with. What is left out for
/// that is counted here. Ordinary text passes byte for byte.
struct LearningText {
  /// A word of so many bytes has at most 24,576 characters after normalisation: no character of
  /// UTF-8 grows to more than six a byte.
  static let wordByteLimit = 4096
  static let lineByteLimit = 1 << 20
  /// U+2585 in UTF-8.
  private static let reserved: [UInt8] = [0xE2, 0x96, 0x85]

  /// All texts one after another.
  private(set) var bytes: [UInt8] = []
  /// Where each ends in `bytes`.
  private(set) var ends: [UInt64] = []
  private(set) var omissions = Omissions()
  /// Whether there is anything but spaces.
  private(set) var hasWords = false

  /// What the trainer never sees.
  struct Omissions: Equatable {
    var words = 0
    var lines = 0
    /// Occurrences of U+2585.
    var reservedCharacters = 0
  }

  /// Adds a text on one line; what must not stand in it becomes spaces, of which the trainer takes
  /// several for one.
  mutating func append(_ text: String) {
    guard text.utf8.count <= Self.lineByteLimit else {
      omissions.lines += 1
      return
    }
    let start = bytes.count
    bytes.append(contentsOf: text.utf8)
    ends.append(UInt64(bytes.count))
    let space = UInt8(ascii: " ")
    var wordStart = start
    for index in start..<bytes.count {
      if bytes[index] == Self.reserved[0], bytes[index...].starts(with: Self.reserved) {
        for offset in 0..<Self.reserved.count { bytes[index + offset] = space }
        omissions.reservedCharacters += 1
      }
      guard bytes[index] == space else { continue }
      endWord(wordStart..<index)
      wordStart = index + 1
    }
    endWord(wordStart..<bytes.count)
  }

  private mutating func endWord(_ range: Range<Int>) {
    guard range.count > Self.wordByteLimit else {
      if !range.isEmpty { hasWords = true }
      return
    }
    for index in range { bytes[index] = UInt8(ascii: " ") }
    omissions.words += 1
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
