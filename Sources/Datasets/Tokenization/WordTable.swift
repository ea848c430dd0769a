import Core

/// Words with how often they occur: a hash table over one run of bytes, as there are millions.
struct WordTable {
  /// All words one after another.
  private var bytes: [UInt8] = []
  /// By word, in the order in which they came: where it ends in `bytes`, its hash, its count.
  private var ends: [Int] = []
  private var hashes: [UInt64] = []
  private var counts: [Int] = []
  /// Words by hash, from 1; 0 is a free place. Their number is a power of two.
  private var places: [Int32] = Array(repeating: 0, count: 1 << 10)

  /// Different words.
  var count: Int { ends.count }

  static func hash(_ word: ArraySlice<UInt8>) -> UInt64 {
    word.withUnsafeBytes { Digest(of: $0).low }
  }

  mutating func add(_ word: ArraySlice<UInt8>, count: Int = 1) {
    let hash = Self.hash(word)
    let (place, known) = find(word, hash)
    if let known {
      counts[known] += count
      return
    }
    bytes.append(contentsOf: word)
    ends.append(bytes.count)
    hashes.append(hash)
    counts.append(count)
    places[place] = Int32(ends.count)
    if 2 * ends.count > places.count { grow() }
  }

  /// The number of a word, in the order in which they came; nil for one that is not there.
  func number(of word: ArraySlice<UInt8>) -> Int? { find(word, Self.hash(word)).known }

  /// Where a word is or would be.
  private func find(_ word: ArraySlice<UInt8>, _ hash: UInt64) -> (place: Int, known: Int?) {
    var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
    while places[place] != 0 {
      let known = Int(places[place]) - 1
      if hashes[known] == hash, self.word(known) == word { return (place, known) }
      place = (place + 1) & (places.count - 1)
    }
    return (place, nil)
  }

  /// Calls `body` with every word, its hash and its count.
  func forEach(
    _ body: (_ word: ArraySlice<UInt8>, _ hash: UInt64, _ count: Int) throws(Failure) -> Void
  ) throws(Failure) {
    for index in ends.indices { try body(word(index), hashes[index], counts[index]) }
  }

  /// How many words there are by how often they occur.
  var countsOfCounts: [Int: Int] { counts.reduce(into: [:]) { $0[$1, default: 0] += 1 } }

  private func word(_ index: Int) -> ArraySlice<UInt8> {
    bytes[(index == 0 ? 0 : ends[index - 1])..<ends[index]]
  }

  private mutating func grow() {
    places = Array(repeating: 0, count: 2 * places.count)
    for (index, hash) in hashes.enumerated() {
      var place = Int(truncatingIfNeeded: hash) & (places.count - 1)
      while places[place] != 0 { place = (place + 1) & (places.count - 1) }
      places[place] = Int32(index + 1)
    }
  }
}
