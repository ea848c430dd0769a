import Core

/// What a vocabulary is learned from: the most frequent words of a text, as the trainer reads them.
struct LearningWords {
  /// A word, a tab and its count, one after another.
  private(set) var bytes: [UInt8] = []
  /// Where each ends in `bytes`.
  private(set) var ends: [UInt64] = []
  /// Of the text, whatever of it is learned from.
  var textCount: Int
  var omissions: LearningText.Omissions

  init(textCount: Int, omissions: LearningText.Omissions) {
    self.textCount = textCount
    self.omissions = omissions
  }

  mutating func append(_ word: some Collection<UInt8>, count: Int) {
    bytes.append(contentsOf: word)
    bytes.append(UInt8(ascii: "\t"))
    bytes.append(contentsOf: String(count).utf8)
    ends.append(UInt64(bytes.count))
  }
}

/// Which words of a text are learned from: the most frequent ones, and of the first that are not
/// all among them those with the smallest hashes.
package struct WordChoice {
  /// All words that occur so often are taken.
  package let leastCount: Int
  /// How many are taken of those that occur once less.
  package let room: Int
  /// Of these, the greatest hash; nil until it is known.
  private(set) var lastHash: UInt64?

  /// - Parameter countsOfCounts: how many words there are by how often they occur.
  package init(_ countsOfCounts: [Int: Int], limit: Int) {
    var taken = 0
    for (count, words) in countsOfCounts.sorted(by: { $0.key > $1.key }) {
      guard taken + words <= limit else {
        leastCount = count + 1
        room = limit - taken
        return
      }
      taken += words
    }
    leastCount = 1
    room = 0
  }

  /// Chooses among the words that occur `leastCount - 1` times.
  package mutating func choose(among hashes: [UInt64]) {
    guard room > 0 else { return }
    lastHash = hashes.sorted()[room - 1]
  }

  package func takes(_ hash: UInt64, count: Int) -> Bool {
    if count >= leastCount { return true }
    guard count == leastCount - 1, let lastHash else { return false }
    return hash <= lastHash
  }
}
