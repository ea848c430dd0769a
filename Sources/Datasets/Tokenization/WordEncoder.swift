import Core

/// Token ids of texts, word by word, with those of the words it met first kept.
///
/// No piece reaches over a space and each word begins with the mark of one, so the ids of a text
/// are those of its words, one after another; most words are frequent ones.
///
/// One thread at a time uses it.
final class WordEncoder: @unchecked Sendable {
  private let tokenizer: Tokenizer
  private var words = WordTable()
  private var ids: [Int32] = []
  /// By the number of the word, where its ids end.
  private var ends: [Int] = []

  /// Words that are kept, with their ids about 5 MB.
  private static let mostWords = 1 << 16
  /// Longer ones are rare.
  private static let mostBytes = 64

  init(_ tokenizer: Tokenizer) { self.tokenizer = tokenizer }

  /// The ids that `Tokenizer.encode` gives.
  ///
  /// Precondition: the text is on one line.
  /// Throws: `Failure` (.internal) when libsentencepiece refuses.
  func encode(_ text: [UInt8]) throws(Failure) -> [Int32] {
    var result: [Int32] = []
    var start = 0
    while start < text.count {
      let end = text[start...].firstIndex(of: UInt8(ascii: " ")) ?? text.count
      let word = text[start..<end]
      if let known = words.number(of: word) {
        result.append(contentsOf: ids[(known == 0 ? 0 : ends[known - 1])..<ends[known]])
      } else {
        let new = try tokenizer.encode(Array(word))
        result.append(contentsOf: new)
        if word.count <= Self.mostBytes, words.count < Self.mostWords {
          words.add(word)
          ids.append(contentsOf: new)
          ends.append(ids.count)
        }
      }
      start = end + 1
    }
    return result
  }
}
