import Core

/// Turns the pairs that stay into token ids, block by block, each into a file of its own.
struct Encoding {
  let texts: [PairedText]
  let fates: Fates
  let folder: String
  let tokenizer: Tokenizer
  let maximumPieces: Int

  /// Characters no piece stands for more of: pieces have 16 of normalised text, where 4 of plain
  /// text may be one.
  private static let mostCharactersOfPiece = 64

  /// What one block gave to one split.
  struct Part: Codable, Sendable {
    var pairs = 0
    var sourceTokens = 0
    var targetTokens = 0
  }

  struct Result: Codable, Sendable {
    /// By the raw value of `Split`.
    var parts: [String: Part] = [:]
    var empty = Tally()
    var tooLong = Tally()
  }

  /// Collective. Returns: what each block gave.
  func run(
    _ blocks: [Block], team: Team, say: @escaping (String) -> Void
  ) throws(Failure) -> [Result] {
    let encoders = (0..<team.jobs).map { _ in WordEncoder(tokenizer) }
    return try team.run(
      StageProgress("encoding", blocks.map(\.byteCount), say: say)
    ) { (task, thread) throws(Failure) -> Result in
      try encode(blocks[task], number: task, by: encoders[thread])
    }
  }

  private func encode(
    _ block: Block, number: Int, by encoder: WordEncoder
  ) throws(Failure) -> Result {
    let blockFates = try fates.of(block)
    var result = Result()
    guard blockFates.contains(where: { $0.split != nil }) else { return result }
    var outputs: [Split: EncodedOutput] = [:]
    var reader = try BlockReader(block, of: texts[block.text])
    while reader.position + 1 < block.count {
      guard let split = blockFates[reader.position + 1].split else {
        try reader.skip()
        continue
      }
      guard try reader.next() else { break }
      let index = block.firstIndex + reader.position
      let pair = reader.pair
      // To cut a text takes time and memory with the square of its length.
      guard
        max(pair.source.scalarCount, pair.target.scalarCount) / Self.mostCharactersOfPiece
          <= maximumPieces
      else {
        result.tooLong.add(index)
        continue
      }
      let source = try encoder.encode(pair.source.bytes)
      let target = try encoder.encode(pair.target.bytes)
      if source.isEmpty || target.isEmpty {
        result.empty.add(index)
      } else if max(source.count, target.count) > maximumPieces {
        result.tooLong.add(index)
      } else {
        let output: EncodedOutput
        if let known = outputs[split] {
          output = known
        } else {
          output = try EncodedOutput(files.of(split, block: number), isNarrow: isNarrow)
          outputs[split] = output
        }
        try output.write(reader.position, pair, source, target)
        result.parts[split.rawValue, default: Part()].add(source.count, target.count)
      }
    }
    for output in outputs.values { try output.flush() }
    return result
  }

  var isNarrow: Bool { tokenizer.vocabularySize <= ShardFormat.narrowVocabularySize }
  var files: EncodedFiles { EncodedFiles(folder: folder) }
}

extension Encoding.Part {
  mutating func add(_ source: Int, _ target: Int) {
    pairs += 1
    sourceTokens += source
    targetTokens += target
  }
}

/// Names of the files between encoding and shards.
struct EncodedFiles: Sendable {
  let folder: String

  struct Paths {
    var tokens: String
    /// Held-out text; nil for training.
    var texts: [String]
  }

  func of(_ split: Split, block: Int) -> Paths {
    let name = "\(folder)/\(split.rawValue).\(block)"
    return Paths(
      tokens: "\(name).tokens",
      texts: split == .training ? [] : ["\(name).source", "\(name).target"])
  }
}

/// The encoded pairs of one block and split: the pair's place in the block, the numbers of tokens
/// of both sides, in 32 bits each, and the tokens, in 16 or 32.
private struct EncodedOutput {
  private let tokens: OutputFile
  private let texts: [OutputFile]
  private let isNarrow: Bool

  init(_ paths: EncodedFiles.Paths, isNarrow: Bool) throws(Failure) {
    tokens = try OutputFile(paths.tokens)
    texts = try paths.texts.map { (path) throws(Failure) in try OutputFile(path) }
    self.isNarrow = isNarrow
  }

  func write(
    _ place: Int, _ pair: LinePair, _ source: [Int32], _ target: [Int32]
  ) throws(Failure) {
    try tokens.write(numbers: [UInt32(place), UInt32(source.count), UInt32(target.count)])
    for side in [source, target] {
      if isNarrow {
        try tokens.write(numbers: side.map { UInt16($0) })
      } else {
        try tokens.write(numbers: side)
      }
    }
    for (file, side) in zip(texts, [pair.source, pair.target]) { try file.writeLine(side.bytes) }
  }

  func flush() throws(Failure) {
    try tokens.flush()
    for file in texts { try file.flush() }
  }
}
