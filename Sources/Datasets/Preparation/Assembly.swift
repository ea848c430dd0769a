import Core
import Foundation

/// One preparation on its way: the stages in their order.
///
/// Every rank has one, and all know the same: what a stage found is told to all.
final class Assembly {
  private let preparation: Preparation
  private let folder: String
  private let work: String
  private let team: Team
  private let say: (String) -> Void

  private var gathered = GatheredText()
  private var blocks: [Block] = []
  private var counts = PairCounts()
  private var examples = LeftOutExamples()
  /// Pairs that were read; what was made of them has greater numbers.
  private var readCount = 0
  private var pairCount = 0
  private let fates: Fates
  /// On the first rank, which decides.
  private var decision: FateDecision?

  init(
    _ preparation: Preparation, folder: String, work: String, team: Team,
    say: @escaping (String) -> Void
  ) {
    self.preparation = preparation
    self.folder = folder
    self.work = work
    self.team = team
    self.say = say
    fates = Fates(path: "\(work)/fates")
  }

  func run() throws(Failure) -> Preparation.Outcome {
    gathered = try team.onFirst { (alone) throws(Failure) in
      try GatheredText(of: preparation, in: work, team: alone, say: say)
    }
    try findPairs()
    if preparation.stretches { try addSentences() }
    let tokenizer = try learn()
    if preparation.stretches { try addNames() }
    return try write(tokenizer)
  }

  private var pairRecords: RecordFiles {
    RecordFiles("pairs", in: work, pairCount: readCount)
  }
  private var sourceRecords: RecordFiles {
    RecordFiles("sources", in: work, pairCount: readCount)
  }

  // MARK: The pairs that were read

  private func findPairs() throws(Failure) {
    let texts = gathered.texts
    let cut = try LineTable.blocks(of: texts[...], firstIndex: 0, team: team, say: say)
    // Items are no pairs that were read; they come with the sentences.
    blocks = cut.filter { texts[$0.text].split != nil }
    itemBlocks = cut.filter { texts[$0.text].split == nil }
    readCount = blocks.last.map { $0.firstIndex + $0.count } ?? 0
    pairCount = readCount
    let scan = try Scan(texts: texts, pairRecords: pairRecords, sourceRecords: sourceRecords)
      .run(blocks, round: "read", team: team, say: say)
    counts.read = scan.read
    counts.empty = scan.empty.count
    counts.lopsided = scan.lopsided.count
    examples.add("empty side", scan.empty)
    examples.add("very unequal length", scan.lopsided)
    let splits = splitRanges()
    if team.rank == 0 {
      decision = FateDecision(pairRecords: pairRecords, sourceRecords: sourceRecords)
    }
    let tallies = try team.onFirst { (alone) throws(Failure) -> [Tally] in
      guard let decision else { return [] }
      try decision.removeDuplicates(
        count: readCount, from: 0, splits: splits, team: alone, say: say)
      let repeated = decision.tally(.duplicate)
      if case .files(_, _, let amounts, _) = preparation.origin {
        try decision.holdOut(amounts, seed: preparation.seed, team: alone, say: say)
      }
      try decision.removeOverlap(
        gathered.overlap == .leavesHeldOut
          ? [.training, .test, .validation] : [.test, .validation, .training],
        team: alone, say: say)
      try sourceRecords.remove()
      try fates.write(decision.all)
      return [repeated, decision.tally(.overlapping), decision.tally(.training)]
    }
    counts.duplicate = tallies[0].count
    counts.overlapping = tallies[1].count
    examples.add("repeated", tallies[0])
    examples.add("in two splits", tallies[1])
    if tallies[2].count == 0 { throw nothingLeft() }
  }

  private var itemBlocks: [Block] = []

  /// The numbers of the pairs of each split, as they were given.
  private func splitRanges() -> [(numbers: Range<Int>, split: Split)] {
    blocks.compactMap { block in
      gathered.texts[block.text].split.map {
        (block.firstIndex..<block.firstIndex + block.count, $0)
      }
    }
    .reduce(into: []) { ranges, next in
      if let last = ranges.last, last.split == next.1 {
        ranges[ranges.count - 1].numbers = last.numbers.lowerBound..<next.0.upperBound
      } else {
        ranges.append((next.0, next.1))
      }
    }
  }

  // MARK: More training text

  private var heldOut: Set<Digest> = []

  private func addSentences() throws(Failure) {
    heldOut = try DerivedText.heldOut(
      blocks, texts: gathered.texts, fates: fates, team: team, say: say)
    let items = Set(itemBlocks.map(\.text))
    let made = try derived.make(
      "sentences", of: blocks + itemBlocks, isItem: { items.contains($0.text) }, team: team,
      say: say
    ) { [allBlocks = blocks + itemBlocks] pair, block, _ in
      if items.contains(allBlocks[block].text) { return pair.isBalanced ? [pair] : [] }
      return Sentences.pairs(of: pair)
    }
    counts.sentences = try add(made, "sentences")
  }

  private func addNames() throws(Failure) {
    let names = try NameSearch(texts: gathered.texts, fates: fates, folder: work)
      .run(blocks, pairCount: pairCount, team: team, say: say)
    var firsts: [Int] = []
    var count = 0
    for pairs in trainingPairs {
      firsts.append(count)
      count += pairs
    }
    let seed = preparation.seed
    let made = try derived.make(
      "other names", of: blocks, team: team, say: say
    ) { [firsts] pair, block, before in
      let stream = RandomStream(seed: seed, purpose: .names, site: 0, a: firsts[block] + before)
      return names.exchanged(in: pair, drawing: stream).map { [$0] } ?? []
    }
    counts.otherNames = try add(made, "other names")
  }

  private var derived: DerivedText {
    DerivedText(texts: gathered.texts, fates: fates, folder: work, heldOut: heldOut)
  }

  /// Takes derived text up.
  ///
  /// Returns: how many of its pairs are new.
  private func add(_ made: [DerivedText.Made], _ name: String) throws(Failure) -> Int {
    let (texts, added) = DerivedText.blocks(
      made, name, in: work, firstText: gathered.texts.count, firstIndex: pairCount)
    gathered.texts += texts
    guard let last = added.last else { return 0 }
    _ = try Scan(texts: gathered.texts, pairRecords: pairRecords, sourceRecords: nil)
      .run(added, round: name, team: team, say: say)
    let first = pairCount
    pairCount = last.firstIndex + last.count
    blocks += added
    return try team.onFirst { (alone) throws(Failure) -> Int in
      guard let decision else { return 0 }
      try decision.removeDuplicates(
        count: pairCount, from: first, splits: [(first..<pairCount, .training)], team: alone,
        say: say)
      try fates.write(decision.all)
      return decision.tally(.training, from: first).count
    }
  }

  // MARK: The tokenizer

  /// Training pairs by block.
  private var trainingPairs: [Int] = []

  private func learn() throws(Failure) -> Tokenizer {
    let (found, words) = try WordCounting(
      texts: gathered.texts, fates: fates, folder: work,
      findsUntranslated: gathered.leavesOutUntranslated
    ).run(blocks, pairCount: pairCount, team: team, say: say)
    trainingPairs = found.map(\.trainingPairs)
    let untranslated = found.flatMap(\.untranslated)
    counts.untranslated = untranslated.count
    var tally = Tally()
    for index in untranslated { tally.add(index) }
    examples.add("untranslated", tally)
    let count = trainingPairs.reduce(0, +)
    guard count > 0 else { throw nothingLeft() }
    let path = "\(folder)/\(Dataset.tokenizerFileName)"
    let bytes = try team.onFirst { (_) throws(Failure) -> [UInt8] in
      if let decision, !untranslated.isEmpty {
        decision.leaveOut(untranslated: untranslated)
        try fates.write(decision.all)
      }
      guard let words else { return [] }
      let training = preparation.tokenizer
      say(
        "learning up to \(training.vocabularySize) pieces from \(count) pairs,"
          + " \(words.ends.count) different words")
      let watch = Stopwatch()
      let tokenizer = try training.train(on: words, progress: say)
      say("learning: \(String(format: "%.1f", watch.seconds)) s")
      try FileSystem.writeAtomically(tokenizer.bytes, to: path)
      return tokenizer.bytes
    }
    return try Tokenizer(bytes)
  }

  // MARK: The dataset

  private func write(_ tokenizer: Tokenizer) throws(Failure) -> Preparation.Outcome {
    let encoding = Encoding(
      texts: gathered.texts, fates: fates, folder: work, tokenizer: tokenizer,
      maximumPieces: preparation.maximumPieces)
    let encoded = try encoding.run(blocks, team: team, say: say)
    var (empty, tooLong) = (Tally(), Tally())
    for result in encoded {
      empty.add(result.empty)
      tooLong.add(result.tooLong)
      counts.kept += result.parts.values.reduce(0) { $0 + $1.pairs }
    }
    counts.empty += empty.count
    counts.tooLong = tooLong.count
    examples.add("empty side", empty)
    examples.add("longer than \(preparation.maximumPieces) pieces", tooLong)
    guard encoded.contains(where: { $0.parts[Split.training.rawValue] != nil }) else {
      throw nothingLeft()
    }
    let cut = ShardCut(
      texts: gathered.texts, blocks: blocks, encoded: encoded, files: encoding.files,
      writer: ShardWriter(
        folder: folder, tokenizer: tokenizer, languages: gathered.languages,
        provenance: gathered.provenance),
      shardPairs: preparation.shardPairs, isNarrow: encoding.isNarrow)
    var splits: [Split: DatasetManifest.SplitEntry] = [:]
    var index = DatasetIndexBuilder()
    for split in Split.allCases {
      let shards = try cut.run(split, team: team, say: say)
      for shard in shards { index.append(shard, to: split) }
      splits[split] = .init(
        shards: shards.enumerated().map { .init($1, file: ShardFormat.fileName($0, of: split)) })
      guard split != .training, !shards.isEmpty else { continue }
      splits[split]?.texts = try team.onFirst { (_) throws(Failure) in
        try cut.writeTexts(of: split, in: folder)
      }
    }
    let manifest = DatasetManifest(
      languages: gathered.languages,
      tokenizer: .init(
        file: Dataset.tokenizerFileName, digest: "\(tokenizer.digest)",
        vocabularySize: tokenizer.vocabularySize),
      splits: splits, counts: counts, maximumPieces: preparation.maximumPieces,
      seed: preparation.seed, provenance: gathered.provenance, licenceNote: gathered.licenceNote)
    _ = try team.onFirst { (_) throws(Failure) -> Int in
      try writeDescription(manifest, index.index(), in: folder)
      return 0
    }
    return Preparation.Outcome(
      manifest: manifest, examples: examples.lines(blocks, gathered.texts, below: readCount))
  }

  private func nothingLeft() -> Failure {
    Failure(
      .badData,
      "expected pairs to train on, found none among \(counts.read) read (\(counts.empty) empty,"
        + " \(counts.lopsided) of unequal length, \(counts.duplicate) repeated,"
        + " \(counts.overlapping) held out, \(counts.tooLong) longer than"
        + " \(preparation.maximumPieces) pieces)")
  }
}

/// The first pair of each kind that was left out.
struct LeftOutExamples {
  private var kinds: [(kind: String, first: Int)] = []

  mutating func add(_ kind: String, _ tally: Tally) {
    guard let first = tally.first, !kinds.contains(where: { $0.kind == kind }) else { return }
    kinds.append((kind, first))
  }

  /// - Parameter limit: what has a greater number was made, and has no place.
  func lines(_ blocks: [Block], _ texts: [PairedText], below limit: Int) -> [String] {
    kinds.filter { $0.first < limit }.compactMap { kind, first in
      blocks.last { $0.firstIndex <= first }.map {
        "\(kind): \(texts[$0.text].place($0.firstLine + first - $0.firstIndex))"
      }
    }
  }
}
