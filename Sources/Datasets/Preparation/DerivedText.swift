import Core

/// Training text that is made from training text: files of pairs, a few for each block, which then
/// go the way of all text.
struct DerivedText {
  let texts: [PairedText]
  let fates: Fates
  let folder: String
  /// What held-out pairs have on the source side, whole and sentence by sentence: nothing of it is
  /// made.
  let heldOut: Set<Digest>

  /// What is made of a block: files of that name with so many pairs, and their bytes.
  struct Made: Codable, Sendable {
    var pairs = 0
    var byteCount = 0
  }

  /// The identities of held-out source texts and their sentences.
  ///
  /// Collective. Memory: that of the held-out text, 32 bytes a sentence.
  static func heldOut(
    _ blocks: [Block], texts: [PairedText], fates: Fates, team: Team,
    say: @escaping (String) -> Void
  ) throws(Failure) -> Set<Digest> {
    let found = try team.run(
      StageProgress("looking at held-out text", blocks.map(\.byteCount), say: say)
    ) { (task, _) throws(Failure) -> [UInt64] in
      var words: [UInt64] = []
      try forEachPair(blocks[task], of: texts, fates: fates, [.validation, .test]) { (_, pair) in
        let source = pair.source.text
        for text in [source] + Sentences.of(source) {
          let digest = TextPair.identity(of: text)
          words += [digest.high, digest.low]
        }
      }
      return words
    }
    var digests: Set<Digest> = []
    for words in found {
      for place in stride(from: 0, to: words.count, by: 2) {
        digests.insert(Digest(high: words[place], low: words[place + 1]))
      }
    }
    return digests
  }

  /// Makes pairs out of those of training, and of items that are no text of their own.
  ///
  /// - Parameters:
  ///   - isItem: whether a block is of items, all of which are taken.
  ///   - make: pairs of one pair; is told the pair's number and how many of the block came before.
  /// Collective.
  func make(
    _ name: String, of blocks: [Block],
    isItem: @escaping @Sendable (Block) -> Bool = { _ in false },
    team: Team, say: @escaping (String) -> Void,
    _ make:
      @escaping @Sendable (_ pair: TextPair, _ block: Int, _ before: Int) -> [TextPair]
  ) throws(Failure) -> [Made] {
    let (texts, fates, folder, heldOut) = (texts, fates, folder, heldOut)
    return try team.run(
      StageProgress("making \(name)", blocks.map(\.byteCount), say: say)
    ) { (task, _) throws(Failure) -> Made in
      var made = Made()
      var outputs: [OutputFile] = []
      var before = 0
      let wanted: Set<Fates.Fate>? = isItem(blocks[task]) ? nil : [.training]
      try Self.forEachPair(blocks[task], of: texts, fates: fates, wanted) {
        (_, pair) throws(Failure) in
        defer { before += 1 }
        for new in make(pair.texts, task, before)
        where !heldOut.contains(TextPair.identity(of: new.source)) {
          if outputs.isEmpty {
            for path in Self.paths(name, task, in: folder) { outputs.append(try OutputFile(path)) }
          }
          try outputs[0].writeLine(Array(new.source.utf8))
          try outputs[1].writeLine(Array(new.target.utf8))
          made.pairs += 1
        }
      }
      for output in outputs {
        try output.flush()
        made.byteCount += output.byteCount
      }
      return made
    }
  }

  /// What was made, as texts and blocks of theirs.
  static func blocks(
    _ made: [Made], _ name: String, in folder: String, firstText: Int, firstIndex: Int
  ) -> (texts: [PairedText], blocks: [Block]) {
    var texts: [PairedText] = []
    var blocks: [Block] = []
    var index = firstIndex
    for (number, made) in made.enumerated() where made.pairs > 0 {
      let files = paths(name, number, in: folder).map { TextFile(path: $0, name: name) }
      blocks.append(
        Block(
          text: firstText + texts.count, firstLine: 0, count: made.pairs, firstIndex: index,
          source: LinePlace(), target: LinePlace(), byteCount: made.byteCount))
      texts.append(PairedText(source: files[0], target: files[1]))
      index += made.pairs
    }
    return (texts, blocks)
  }

  private static func paths(_ name: String, _ block: Int, in folder: String) -> [String] {
    ["source", "target"].map { "\(folder)/\(name).\(block).\($0)" }
  }

  /// Calls `body` with the number and the texts of pairs with certain fates; of all, for nil.
  static func forEachPair(
    _ block: Block, of texts: [PairedText], fates: Fates, _ wanted: Set<Fates.Fate>?,
    _ body: (_ index: Int, _ pair: LinePair) throws(Failure) -> Void
  ) throws(Failure) {
    let blockFates = try wanted.map { (_) throws(Failure) in try fates.of(block) }
    if let wanted, let blockFates, !blockFates.contains(where: wanted.contains) { return }
    var reader = try BlockReader(block, of: texts[block.text])
    while reader.position + 1 < block.count {
      if let wanted, let blockFates, !wanted.contains(blockFates[reader.position + 1]) {
        try reader.skip()
        continue
      }
      guard try reader.next() else { return }
      try body(block.firstIndex + reader.position, reader.pair)
    }
  }
}

extension Sentences {
  /// The sentences of a pair as pairs of their own, where both sides have as many; those that fit
  /// together in length.
  static func pairs(of pair: TextPair) -> [TextPair] {
    let (source, target) = (of(pair.source), of(pair.target))
    guard source.count > 1, source.count == target.count else { return [] }
    return zip(source, target).map { TextPair(source: $0, target: $1) }.filter(\.isBalanced)
  }
}
