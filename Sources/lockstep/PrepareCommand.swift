import ArgumentParser
import Core
import Datasets
import Dispatch
import Foundation

/// `lockstep prepare`: text to a dataset folder.
struct PrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Turn parallel text into a dataset: tokenizer, HDF5 shards, held-out text.",
    discussion: """
      Text comes from files (--source, --target) or from a preset. The folder --out appears whole \
      at the end, or not at all; the same input gives the same bytes.
      """)

  /// Text that needs no files.
  enum Preset: String, ExpressibleByArgument, CaseIterable {
    case ddtpEnglishGerman = "ddtp-en-de"
    case ddtpEnglishFrench = "ddtp-en-fr"
    case copy
  }

  @Option(help: "Folder to make; must not exist or be empty.")
  var out: String

  @Option(help: "Debian's translated package descriptions, fetched with apt, or the copy task.")
  var preset: Preset?

  @Option(help: "Text file to translate from, a sentence a line.")
  var source: String?

  @Option(help: "Text file to translate to, line by line the translation of --source.")
  var target: String?

  @Option(help: "Text to validate on.")
  var validSource: String?

  @Option(help: "Translation of --valid-source.")
  var validTarget: String?

  @Option(help: "Text to test on.")
  var testSource: String?

  @Option(help: "Translation of --test-source.")
  var testTarget: String?

  @Option(help: "Pairs of --source and --target to validate on instead of training on them.")
  var valid: Int?

  @Option(help: "Pairs of --source and --target to test on instead of training on them.")
  var test: Int?

  @Flag(
    help: """
      Train on the sentences of paragraphs one by one, too, and on pairs with names once more with \
      other names; the presets of Debian always do.
      """)
  var stretch = false

  @Option(help: "Name of the source language.")
  var sourceLanguage = "source"

  @Option(help: "Name of the target language.")
  var targetLanguage = "target"

  @Option(help: "Pieces of the shared vocabulary, special tokens included.")
  var vocabulary = 8000

  @Option(help: "Decides which pairs of files are held out, exchanged names, and the copy task.")
  var seed: UInt64 = 1

  @Option(help: "Leave out pairs with more pieces on a side.")
  var maxPieces = Preparation.defaultMaximumPieces

  @Option(help: "Pairs of a shard; the loader keeps a few shards in memory.")
  var shardPairs = Preparation.defaultShardPairs

  func validate() throws {
    guard (preset != nil) != (source != nil || target != nil) else {
      throw ValidationError("Give either --preset or --source and --target.")
    }
    if preset == nil, source == nil || target == nil {
      throw ValidationError("--source and --target belong together.")
    }
    let heldOut: [Any?] = [validSource, validTarget, testSource, testTarget, valid, test]
    if preset != nil, heldOut.contains(where: { $0 != nil }) {
      throw ValidationError("A preset has its own validation and test pairs.")
    }
    guard preset == nil || !stretch else {
      throw ValidationError("--stretch is for --source and --target; presets know what they need.")
    }
    for (name, first, second, amount) in [
      ("valid", validSource, validTarget, valid), ("test", testSource, testTarget, test),
    ] {
      if (first == nil) != (second == nil) {
        throw ValidationError("--\(name)-source and --\(name)-target belong together.")
      }
      if first != nil, amount != nil {
        throw ValidationError("Give either --\(name) or --\(name)-source and --\(name)-target.")
      }
      guard 0...1_000_000_000 ~= amount ?? 0 else {
        throw ValidationError("--\(name) must be from 0 to 1000000000.")
      }
    }
    guard vocabulary > 3 else { throw ValidationError("--vocabulary must be above 3.") }
    guard maxPieces > 0 else { throw ValidationError("--max-pieces must be above 0.") }
    guard shardPairs > 0 else { throw ValidationError("--shard-pairs must be above 0.") }
  }

  func run() throws {
    let staging = try StagingFolder(for: out)
    let signals = [SIGINT, SIGTERM].map { Self.removing(staging, on: $0) }
    defer { signals.forEach { $0.cancel() } }
    let watch = Stopwatch()
    let manifest = try preparation.run(in: staging) { Self.say("prepare: \($0)") }
    Self.summary(of: manifest, out: out, seconds: watch.seconds).forEach(Self.say)
  }

  private var preparation: Preparation {
    Preparation(
      origin: origin,
      tokenizer: preset == .copy
        ? TokenizerTraining(
          vocabularySize: vocabulary, byteFallback: false, characterCoverage: 1)
        : TokenizerTraining(vocabularySize: vocabulary),
      maximumPieces: maxPieces, shardPairs: shardPairs, seed: seed,
      // Descriptions are paragraphs of a few sentences, and few.
      stretches: stretch || preset == .ddtpEnglishGerman || preset == .ddtpEnglishFrench)
  }

  private var origin: Preparation.Origin {
    switch preset {
    case .ddtpEnglishGerman: return .debianDescriptions(language: "de")
    case .ddtpEnglishFrench: return .debianDescriptions(language: "fr")
    case .copy: return .copy(CopyTask(seed: seed))
    case nil: break
    }
    func text(_ source: String?, _ target: String?) -> ParallelText? {
      guard let source, let target else { return nil }
      return ParallelText(sourcePath: source, targetPath: target)
    }
    var heldOut: [Split: ParallelText] = [:]
    heldOut[.validation] = text(validSource, validTarget)
    heldOut[.test] = text(testSource, testTarget)
    return .files(
      training: ParallelText(sourcePath: source ?? "", targetPath: target ?? ""),
      heldOut: heldOut, amounts: [.validation: valid ?? 0, .test: test ?? 0],
      languages: Languages(source: sourceLanguage, target: targetLanguage))
  }

  /// Ctrl-C or a scheduler's end: what is half made goes, then the signal does what it does.
  private static func removing(
    _ staging: StagingFolder, on number: Int32
  ) -> any DispatchSourceSignal {
    // Not ignored: a child, apt, would inherit that and live on.
    signal(number) { _ in }
    let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
    source.setEventHandler {
      staging.remove {
        signal(number, SIG_DFL)
        kill(getpid(), number)
        // What fails meanwhile for want of the folder must not have the last word.
        while true { pause() }
      }
    }
    source.resume()
    return source
  }

  private static func summary(
    of manifest: DatasetManifest, out: String, seconds: Double
  ) -> [String] {
    let counts = manifest.counts
    let splits = Split.allCases.map { split in
      let entry = manifest.splits[split.rawValue]
      return "  \(split.rawValue): \(entry?.pairs ?? 0) pairs, \(entry?.sourceTokens ?? 0) source"
        + " and \(entry?.targetTokens ?? 0) target tokens in \(entry?.shards.count ?? 0) shards"
    }
    return [
      "\(out): \(counts.kept) pairs from \(counts.read) that were read,"
        + " \(manifest.tokenizer.vocabularySize) pieces,"
        + " \(String(format: "%.1f", seconds)) s"
    ] + splits + [
      "  left out: \(counts.empty) with an empty side, \(counts.duplicate) repeated,"
        + " \(counts.lopsided) of very unequal length, \(counts.overlapping) in two splits,"
        + " \(counts.untranslated) untranslated,"
        + " \(counts.tooLong) longer than \(manifest.maximumPieces) pieces"
    ]
      + (counts.sentences > 0
        ? [
          "  added to training: \(counts.sentences) sentences and list items,"
            + " \(counts.otherNames) pairs with other names"
        ] : [])
  }

  private static func say(_ line: String) {
    StandardError.tell(escaped(line))
  }
}
