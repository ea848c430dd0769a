import Core
import Foundation

/// Finds the names of a text of any size: its words go to partitions by what they are, in files,
/// and each partition is counted in memory by itself.
struct NameSearch {
  let texts: [PairedText]
  let fates: Fates
  let folder: String

  /// Names that are kept: those with the smallest digests, where a text has more. Each takes about
  /// 100 bytes in every process.
  static let mostNames = 500_000
  private static let partitionsAMillion = 4

  /// What is known of a word.
  fileprivate struct Word {
    var pairs = 0
    var keeping = 0
    /// As the first pair that keeps it writes it, of canonically equivalent forms.
    var spelling = ""
    var first = Int.max
  }

  /// Collective.
  func run(
    _ blocks: [Block], pairCount: Int, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> Names {
    let files = RecordFiles(
      "names", in: folder, pairCount: pairCount, partitionsAMillion: Self.partitionsAMillion)
    let writers = (0..<team.jobs).map { files.writer("\(team.rank)-\($0)") }
    let (texts, fates) = (texts, fates)
    _ = try team.run(
      StageProgress("looking for names", blocks.map(\.byteCount), say: say)
    ) { (task, thread) throws(Failure) -> Int in
      try DerivedText.forEachPair(blocks[task], of: texts, fates: fates, [.training]) {
        (index, pair) throws(Failure) in
        let kept = Set(Names.words(of: pair.target.text))
        for word in Set(Names.words(of: pair.source.text)) {
          let bytes = Array(word.utf8)
          let output = try writers[thread].output(files.partition(of: Self.digest(of: word)))
          try output.write(numbers: [UInt32(bytes.count)])
          try output.write(numbers: [UInt64(2 * index + (kept.contains(word) ? 1 : 0))])
          try output.write(bytes)
        }
      }
      return 0
    }
    _ = try team.onEvery { () throws(Failure) -> Int in
      for writer in writers { try writer.flush() }
      return 0
    }
    let found = try team.run(
      StageProgress(
        "counting names", Array(repeating: 1, count: files.partitionCount), .shards, say: { _ in })
    ) { (partition, _) throws(Failure) -> [String] in
      Self.fewest(try Self.names(in: files.paths(of: partition)))
    }
    _ = try team.onFirst { (_) throws(Failure) -> Int in
      try files.remove()
      return 0
    }
    return Names(Self.fewest(found.flatMap { $0 }))
  }

  private static func names(in paths: [String]) throws(Failure) -> [String] {
    // Swift's text is equal where it is canonically equivalent.
    var words: [String: Word] = [:]
    for path in paths {
      var input = try InputRun(path)
      while let length = try input.number(UInt32.self) {
        let number = Int(try input.number(UInt64.self) ?? 0)
        let spelling = String(decoding: try input.bytes(Int(length)), as: UTF8.self)
        let (index, isKept) = (number / 2, number & 1 == 1)
        words[spelling, default: Word()].add(spelling, index: index, isKept: isKept)
      }
    }
    return words.values
      .filter { Names.isName($0.spelling, pairs: $0.pairs, keeping: $0.keeping) }
      .map(\.spelling)
  }

  /// The names that are kept of these.
  private static func fewest(_ names: [String]) -> [String] {
    guard names.count > mostNames else { return names }
    let byDigest = names.map { (digest: digest(of: $0[...]), name: $0) }
      .sorted { ($0.digest.high, $0.digest.low) < ($1.digest.high, $1.digest.low) }
    return byDigest.prefix(mostNames).map(\.name)
  }

  /// Equal for canonically equivalent words.
  private static func digest(of word: Substring) -> Digest {
    Digest(
      of: word.utf8.allSatisfy { $0 < 0x80 }
        ? String(word) : String(word).precomposedStringWithCanonicalMapping)
  }
}

extension NameSearch.Word {
  mutating func add(_ spelling: String, index: Int, isKept: Bool) {
    pairs += 1
    guard isKept else { return }
    keeping += 1
    if index < first {
      first = index
      self.spelling = spelling
    }
  }
}
