import ArgumentParser
import Core
import Datasets
import Dispatch
import Foundation
import Messaging

/// `lockstep prepare`: text to a dataset folder.
struct PrepareCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "prepare",
    abstract: "Turn parallel text into a dataset: tokenizer, HDF5 shards, held-out text.",
    discussion: """
      Text comes from files (--source and --target, or --pairs), any of them compressed by gzip or \
      a pipe, or from a preset. The folder --out appears whole at the end, or not at all; the same \
      input gives the same bytes, on any number of threads (--jobs) and of ranks (mpirun).
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

  @Option(parsing: .upToNextOption, help: "Text files to translate from, a sentence a line.")
  var source: [String] = []

  @Option(
    parsing: .upToNextOption,
    help: "Text files to translate to, line by line the translations of --source, in its order.")
  var target: [String] = []

  @Option(
    parsing: .upToNextOption,
    help: """
      Files of pairs: tables with a tab between the sides (.tsv, - for standard input), \
      translation memories (.tmx), or NAME for NAME.<source language> and NAME.<target language>.
      """)
  var pairs: [String] = []

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

  @Option(help: "Threads of this process (default: the processors it may use).")
  var jobs: Int?

  func validate() throws {
    guard (preset != nil) != !(source + target + pairs).isEmpty else {
      throw ValidationError("Give either --preset, or --source and --target, or --pairs.")
    }
    guard source.count == target.count else {
      throw ValidationError(
        "--source and --target belong together: \(source.count) and \(target.count) files.")
    }
    guard pairs.count(where: { $0 == TextInput.standardInput }) <= 1 else {
      throw ValidationError("Standard input can be read but once.")
    }
    guard 1...Self.mostJobs ~= jobs ?? 1 else {
      throw ValidationError("--jobs must be from 1 to \(Self.mostJobs).")
    }
    let heldOut: [Any?] = [validSource, validTarget, testSource, testTarget, valid, test]
    if preset != nil, heldOut.contains(where: { $0 != nil }) {
      throw ValidationError("A preset has its own validation and test pairs.")
    }
    guard preset == nil || !stretch else {
      throw ValidationError("--stretch is for text of your own; presets know what they need.")
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

  private static let mostJobs = 1024

  func run() throws {
    let communicator = try Launch.communicator()
    let team = Team(
      rank: communicator.rank, size: communicator.size, jobs: jobs ?? Team.defaultJobs
    ) { (bytes) throws(Failure) in try communicator.allGather(bytes: bytes) }
    let isFirst = team.rank == 0
    var staging: StagingFolder?
    do throws(Failure) {
      try prepare(team, isFirst ? { Self.say("prepare: \($0)") } : { _ in }, &staging)
    } catch {
      staging?.remove()
      guard team.size > 1 else { throw error }
      guard team.sharedFailure != nil else {
        // The others wait for this rank: end them too.
        CommandLineEntry.say("rank \(team.rank): \(error.message)")
        communicator.abort(error.exitCode)
        throw ArgumentParser.ExitCode(error.exitCode.rawValue)
      }
      // Every rank knows the same failure; one of them says it.
      CommandLineEntry.say(isFirst ? error.message : nil)
      try communicator.finish()
      throw ArgumentParser.ExitCode(error.exitCode.rawValue)
    }
    try communicator.finish()
  }

  /// - Parameter staging: the first rank's; whoever calls removes it when this throws.
  private func prepare(
    _ team: Team, _ say: @escaping (String) -> Void, _ staging: inout StagingFolder?
  ) throws(Failure) {
    let watch = Stopwatch()
    var made: StagingFolder?
    defer { staging = made }
    var signals: [any DispatchSourceSignal] = []
    defer { signals.forEach { $0.cancel() } }
    let path = try team.onFirst { (_) throws(Failure) -> String in
      let folder = try StagingFolder(for: out)
      made = folder
      signals = [SIGINT, SIGTERM].map { Self.removing(folder, on: $0) }
      return folder.path
    }
    let outcome = try preparation.build(in: path, team: team, progress: say)
    _ = try team.onFirst { (_) throws(Failure) -> Int in
      try made?.publish()
      return 0
    }
    let peaks = try team.onEvery { () throws(Failure) -> Int in Self.peakByteCount }
    guard team.rank == 0 else { return }
    Self.summary(of: outcome, out: out, seconds: watch.seconds).forEach(Self.say)
    let peak = String(format: "%.1f", Double(peaks.reduce(0, +)) / 1e6)
    Self.say("  memory: at most \(peak) MB, of all processes together")
  }

  /// The most this process and the one that learned the tokenizer had in memory, each for itself.
  private static var peakByteCount: Int {
    var children = rusage()
    getrusage(__rusage_who_t(RUSAGE_CHILDREN.rawValue), &children)
    // Not from getrusage: for it, what the process was before it became this program counts, too.
    let status = (try? FileSystem.readAll("/proc/self/status", limit: 1 << 20)) ?? []
    let line = String(decoding: status, as: UTF8.self).filledLines.first {
      $0.hasPrefix("VmHWM:")
    }
    let own = line.flatMap { Int($0.filter(\.isNumber)) } ?? 0
    return (own + children.ru_maxrss) * 1024
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
    case .copy: return .corpus(CopyTask(seed: seed).corpus())
    case nil: break
    }
    func text(_ source: String?, _ target: String?) -> TextInput? {
      guard let source, let target else { return nil }
      return .files(source: source, target: target)
    }
    let languages = Languages(source: sourceLanguage, target: targetLanguage)
    var heldOut: [Split: TextInput] = [:]
    heldOut[.validation] = text(validSource, validTarget)
    heldOut[.test] = text(testSource, testTarget)
    return .files(
      training: zip(source, target).map { TextInput.files(source: $0, target: $1) }
        + pairs.map { TextInput.named($0, languages: languages) },
      heldOut: heldOut, amounts: [.validation: valid ?? 0, .test: test ?? 0],
      languages: languages)
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
        // Whoever started this process may have left it blocked everywhere.
        var own = sigset_t()
        sigemptyset(&own)
        sigaddset(&own, number)
        pthread_sigmask(SIG_UNBLOCK, &own, nil)
        kill(getpid(), number)
        // What fails meanwhile for want of the folder must not have the last word.
        while true { pause() }
      }
    }
    source.resume()
    return source
  }

  private static func summary(
    of outcome: Preparation.Outcome, out: String, seconds: Double
  ) -> [String] {
    let manifest = outcome.manifest
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
    ] + outcome.examples.map { "    the first, \($0)" }
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
