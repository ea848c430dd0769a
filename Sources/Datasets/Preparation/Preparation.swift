import Core
import Foundation

/// Text in, a dataset folder out: the same bytes for the same input and options.
package struct Preparation: Sendable {
  /// Where the text comes from.
  package enum Origin: Sendable {
    /// Held-out amounts are taken from the training text where no file is given.
    case files(
      training: ParallelText, heldOut: [Split: ParallelText], amounts: [Split: Int],
      languages: Languages)
    /// Translated package descriptions from English to a language.
    case debianDescriptions(language: String)
    case copy(CopyTask)
  }

  package var origin: Origin
  package var tokenizer: TokenizerTraining
  /// Pieces a side may have, without end; longer pairs are left out.
  package var maximumPieces: Int
  /// Pairs a shard holds at most; a window of shards is what the loader keeps in memory.
  package var shardPairs: Int
  package var seed: UInt64
  /// Whether training gets the sentences of its texts one by one, too, and its pairs with names
  /// once more with others.
  package var stretches: Bool

  package static let defaultMaximumPieces = 256
  package static let defaultShardPairs = 65_536

  package init(
    origin: Origin, tokenizer: TokenizerTraining, maximumPieces: Int = defaultMaximumPieces,
    shardPairs: Int = defaultShardPairs, seed: UInt64 = 1, stretches: Bool = false
  ) {
    precondition(maximumPieces > 0 && shardPairs > 0, "limits are positive")
    self.origin = origin
    self.tokenizer = tokenizer
    self.maximumPieces = maximumPieces
    self.shardPairs = shardPairs
    self.seed = seed
    self.stretches = stretches
  }

  /// Builds the dataset in `staging` and publishes it; the folder is gone when this throws.
  ///
  /// Throws: `Failure`: .missingInput, .badData, .cannotCreate or .inputOutput.
  package func run(
    in staging: StagingFolder, progress: (String) -> Void
  ) throws(Failure) -> DatasetManifest {
    do throws(Failure) {
      let manifest = try build(in: staging.path, progress: progress)
      try staging.publish()
      return manifest
    } catch {
      staging.remove()
      throw error
    }
  }

  private func build(
    in folder: String, progress: (String) -> Void
  ) throws(Failure) -> DatasetManifest {
    var counts = PairCounts()
    var corpus = try filteredCorpus(scratch: folder, counts: &counts, progress: progress)
    let training = corpus.pairs[.training, default: []]
    guard !training.isEmpty else { throw nothingLeft(counts) }

    progress("learning up to \(tokenizer.vocabularySize) pieces from \(training.count) pairs")
    let tokenizer = try tokenizer.train(
      on: training.flatMap { [$0.source, $0.target] }, progress: progress)
    try FileSystem.writeAtomically(tokenizer.bytes, to: "\(folder)/\(Dataset.tokenizerFileName)")
    // Its pieces are those of the text as it was.
    if stretches { corpus.addOtherNames(seed: seed, counting: &counts) }

    var splits: [Split: DatasetManifest.SplitEntry] = [:]
    var index = DatasetIndexBuilder()
    for split in Split.allCases {
      let texts = corpus.pairs[split, default: []]
      progress("encoding \(texts.count) pairs of \(split.rawValue)")
      let encoded = try EncodedPairs(
        texts, with: tokenizer, maximumPieces: maximumPieces, counting: &counts,
        progress: progress)
      guard split != .training || encoded.count > 0 else { throw nothingLeft(counts) }
      let writer = ShardWriter(
        folder: folder, tokenizer: tokenizer, languages: corpus.languages,
        provenance: corpus.provenance)
      splits[split] = try writer.write(encoded, split: split, shardPairs: shardPairs) {
        index.append($0, to: split)
      }
      if split != .training, encoded.count > 0 {
        splits[split]?.texts = try writeTexts(of: encoded, split: split, in: folder)
      }
    }
    let manifest = DatasetManifest(
      languages: corpus.languages,
      tokenizer: .init(
        file: Dataset.tokenizerFileName, digest: "\(tokenizer.digest)",
        vocabularySize: tokenizer.vocabularySize),
      splits: splits, counts: counts, maximumPieces: maximumPieces, seed: seed,
      provenance: corpus.provenance, licenceNote: corpus.licenceNote)
    try writeDescription(manifest, index.index(), in: folder)
    return manifest
  }

  /// Writes the pairs as text, as they were before tokenization.
  private func writeTexts(
    of pairs: EncodedPairs, split: Split, in folder: String
  ) throws(Failure) -> [DatasetManifest.TextEntry] {
    var entries: [DatasetManifest.TextEntry] = []
    for (side, text) in [("source", \TextPair.source), ("target", \TextPair.target)] {
      let lines = pairs.lines(text)
      let name = "\(split.rawValue).\(side).txt"
      try FileSystem.writeAtomically(lines, to: "\(folder)/\(name)")
      entries.append(.init(file: name, digest: "\(Digest(of: lines))"))
    }
    return entries
  }

  /// Reads the text and leaves out what is no good, before any tokenizer.
  private func filteredCorpus(
    scratch: String, counts: inout PairCounts, progress: (String) -> Void
  ) throws(Failure) -> Corpus {
    var corpus: Corpus
    var amounts: [Split: Int] = [:]
    switch origin {
    case .files(let training, let heldOut, let wanted, let languages):
      progress("reading \(training.sourcePath) and \(training.targetPath)")
      var pairs: [Split: [TextPair]] = [:]
      var provenance: [String] = []
      let files = [.training: training].merging(heldOut) { $1 }
      for split in Split.allCases {
        pairs[split] = try files[split]?.pairs { (path: String) throws(Failure) in
          let bytes = try InputFile.bytes(of: path)
          // Without its folder: the same text gives the same dataset wherever it lies.
          let name = URL(fileURLWithPath: path).lastPathComponent
          provenance.append("\(split.rawValue): \(name), XXH3 \(Digest(of: bytes))")
          return bytes
        }
      }
      corpus = Corpus(
        pairs: pairs, languages: languages, provenance: provenance,
        licenceNote: "that of the text files", overlap: .leavesTraining)
      amounts = wanted
    case .debianDescriptions(let language):
      // apt takes other paths that do not begin at the root to begin at its own folders.
      let apt = (scratch.utf8.first == UInt8(ascii: "/") ? "" : "./") + "\(scratch)/apt"
      try FileSystem.createFolder(apt)
      corpus = try DebianArchive(language: language).corpus(scratch: apt, progress: progress)
      try? FileSystem.remove(apt)
    case .copy(let task):
      corpus = task.corpus()
    }
    corpus.clean(counting: &counts)
    try corpus.holdOut(amounts, seed: seed)
    corpus.removeOverlap(counting: &counts)
    if stretches { corpus.addSentences(counting: &counts) }
    if case .debianDescriptions = origin { corpus.removeUntranslated(counting: &counts) }
    return corpus
  }

  private func nothingLeft(_ counts: PairCounts) -> Failure {
    Failure(
      .badData,
      "expected pairs to train on, found none among \(counts.read) read (\(counts.empty) empty,"
        + " \(counts.lopsided) of unequal length, \(counts.duplicate) repeated,"
        + " \(counts.overlapping) held out, \(counts.tooLong) longer than \(maximumPieces) pieces)")
  }
}
