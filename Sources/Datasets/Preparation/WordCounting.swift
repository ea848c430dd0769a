import Core
import Synchronization

/// The first way through all training text: its words, for the tokenizer, and which pairs nobody
/// has translated.
struct WordCounting {
  let texts: [PairedText]
  let fates: Fates
  /// For files on the way.
  let folder: String
  /// Whether pairs with the same text on both sides are found, and not learned from.
  let findsUntranslated: Bool

  /// What a block had.
  struct Result: Codable, Sendable {
    var trainingPairs = 0
    var untranslated: [Int] = []
  }

  /// Counts the words of blocks.
  ///
  /// Collective. Returns: what each block had, and on the first rank the words to learn from.
  func run(
    _ blocks: [Block], pairCount: Int, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> (blocks: [Result], words: LearningWords?) {
    let (texts, fates, findsUntranslated) = (texts, fates, findsUntranslated)
    let files = RecordFiles("words", in: folder, pairCount: pairCount)
    let counters = (0..<team.jobs).map { thread in
      WordCounter(files, files.writer("\(team.rank)-\(thread)"))
    }
    let results = try team.run(
      StageProgress("counting words", blocks.map(\.byteCount), say: say)
    ) { (task, thread) throws(Failure) -> Result in
      let block = blocks[task]
      let blockFates = try fates.of(block)
      var result = Result()
      guard blockFates.contains(.training) else { return result }
      var reader = try BlockReader(block, of: texts[block.text])
      while reader.position + 1 < block.count {
        guard blockFates[reader.position + 1] == .training else {
          try reader.skip()
          continue
        }
        guard try reader.next() else { break }
        if findsUntranslated, reader.pair.isUntranslated {
          result.untranslated.append(block.firstIndex + reader.position)
          continue
        }
        result.trainingPairs += 1
        try counters[thread].add(reader.pair)
      }
      return result
    }
    let omissions = try team.finish(counters)
    var choice: WordChoice?
    _ = try team.onFirst { (alone) throws(Failure) -> Int in
      choice = try add(up: files, team: alone, say: say)
      try files.remove()
      return 0
    }
    guard let choice else { return (results, nil) }
    let textCount = 2 * results.reduce(0) { $0 + $1.trainingPairs } - omissions.lines
    var words = LearningWords(textCount: textCount, omissions: omissions)
    for partition in 0..<files.partitionCount {
      let path = sumPath(partition)
      try CountedWords.read(path) { (word, count) throws(Failure) in
        if choice.takes(WordTable.hash(word), count: count) { words.append(word, count: count) }
      }
      try FileSystem.removeFile(path)
    }
    return (results, words)
  }

  private func sumPath(_ partition: Int) -> String { "\(folder)/word-sums.\(partition)" }

  /// Puts together what all threads have counted, in a file for each partition.
  ///
  /// Returns: which of the words are learned from.
  private func add(
    up files: RecordFiles, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> WordChoice {
    let paths = (0..<files.partitionCount).map(sumPath)
    var byteCounts = Array(repeating: 0, count: files.partitionCount)
    for partition in byteCounts.indices {
      for path in try files.paths(of: partition) {
        byteCounts[partition] += try FileSystem.byteCount(of: path)
      }
    }
    let countsOfCounts = try team.run(
      StageProgress("adding up words", byteCounts, say: say)
    ) { (partition, _) throws(Failure) -> [Int: Int] in
      var table = WordTable()
      for path in try files.paths(of: partition) {
        try CountedWords.read(path) { (word, count) throws(Failure) in
          table.add(word, count: count)
        }
      }
      let output = try OutputFile(paths[partition])
      try table.forEach { (word, _, count) throws(Failure) in
        try CountedWords.write(word, count: count, to: output)
      }
      try output.flush()
      return table.countsOfCounts
    }
    var choice = WordChoice(
      countsOfCounts.reduce(into: [:]) { $0.merge($1, uniquingKeysWith: +) },
      limit: TokenizerTraining.mostWords)
    var ties: [UInt64] = []
    if choice.room > 0 {
      for path in paths {
        try CountedWords.read(path) { (word, count) throws(Failure) in
          if count == choice.leastCount - 1 { ties.append(WordTable.hash(word)) }
        }
      }
    }
    choice.choose(among: ties)
    return choice
  }
}

/// Words with their counts in a file: the length of the word in 32 bits, its count in 64, its
/// bytes.
enum CountedWords {
  static func write(
    _ word: ArraySlice<UInt8>, count: Int, to file: OutputFile
  ) throws(Failure) {
    try file.write(numbers: [UInt32(word.count)])
    try file.write(numbers: [UInt64(count)])
    try file.write(word)
  }

  static func read(
    _ path: String, _ body: (ArraySlice<UInt8>, Int) throws(Failure) -> Void
  ) throws(Failure) {
    var input = try InputRun(path)
    while let length = try input.number(UInt32.self) {
      let count = try input.number(UInt64.self) ?? 0
      try body(try input.bytes(Int(length)), Int(count))
    }
  }
}

/// What one thread counts.
///
/// One thread at a time uses it.
final class WordCounter: @unchecked Sendable {
  private let files: RecordFiles
  private let writer: RecordFiles.Writer
  private var text = LearningText()

  /// Different words in memory.
  private static let wordsInMemory = 1 << 16

  init(_ files: RecordFiles, _ writer: RecordFiles.Writer) {
    self.files = files
    self.writer = writer
  }

  func add(_ pair: LinePair) throws(Failure) {
    text.append(pair.source.bytes)
    text.append(pair.target.bytes)
    if text.words.count > Self.wordsInMemory { try spill() }
  }

  /// Writes the words to their partitions and forgets them.
  func spill() throws(Failure) {
    try text.takeWords().forEach { (word, hash, count) throws(Failure) in
      let partition = files.partition(of: Digest(high: hash, low: 0))
      try CountedWords.write(word, count: count, to: writer.output(partition))
    }
  }

  /// Writes what is left.
  ///
  /// Returns: what was not counted.
  func finish() throws(Failure) -> LearningText.Omissions {
    try spill()
    try writer.flush()
    return text.omissions
  }
}

extension Team {
  /// Writes what counters still hold; returns when every rank has.
  ///
  /// Collective. Returns: what none of them counted.
  fileprivate func finish(_ counters: [WordCounter]) throws(Failure) -> LearningText.Omissions {
    try onEvery { () throws(Failure) in
      var omissions = LearningText.Omissions()
      for counter in counters { omissions = omissions + (try counter.finish()) }
      return omissions
    }.reduce(LearningText.Omissions(), +)
  }
}

extension LinePair {
  /// Whether both sides are the same text, canonically equivalent forms included.
  var isUntranslated: Bool {
    source.bytes == target.bytes
      || !(source.isNormal && target.isNormal) && source.text == target.text
  }
}
