import ArgumentParser
import Core
import Decoding
import Foundation

/// `lockstep translate`: standard input to standard output, one line for each line.
struct TranslateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "translate",
    abstract: "Translate lines of text from standard input.",
    discussion: """
      Writes one line for each line read, in the same order; an empty line stays empty. Where
      input pauses, what has come is answered.
      Example: echo "a fast text editor" | lockstep translate --checkpoint runs/quickstart
      """)

  /// Lines are translated in windows of this many at most, so that similar lengths meet in a batch
  /// and output still starts early.
  static let linesPerWindow = 1024
  /// Whoever is silent for so long waits for an answer; a program that only writes seldom is.
  private static let pauseMilliseconds: Int32 = 50

  @Option(help: "A checkpoint, or a run directory (its newest checkpoint).")
  var checkpoint: String

  @OptionGroup var search: SearchOptions

  @Flag(
    help: """
      Write one JSON object a line: source, translation, score, log_probability, tokens, and step \
      and checkpoint_digest of the weights.
      """)
  var json = false

  func run() throws {
    try prepareKernels()
    let loaded = try LoadedTranslator(checkpoint: checkpoint)
    var translator = loaded.translator
    search.apply(to: &translator)
    var input = TextLines(descriptor: STDIN_FILENO, name: "standard input")
    while true {
      let firstLineNumber = input.count + 1
      let (lines, failure) = readWindow(&input, for: translator)
      let translations = try translator.translate(lines, firstLineNumber: firstLineNumber)
      if firstLineNumber == 1, !lines.isEmpty {
        CommandLineEntry.say("weights: \(loaded.source.text)")
      }
      try write(translations, of: loaded.source)
      if let failure { throw failure }
      if lines.isEmpty { return }
    }
  }

  /// The next lines up to a pause, and what is wrong with the one after them: good lines before a
  /// bad one are still translated.
  private func readWindow(
    _ input: inout TextLines, for translator: Translator
  ) -> (lines: [String], failure: (any Error)?) {
    var lines: [String] = []
    do {
      while lines.count < Self.linesPerWindow, let line = try input.next() {
        try translator.requireTranslatable(line, lineNumber: input.count)
        lines.append(line)
        if try input.pauses(milliseconds: Self.pauseMilliseconds) { break }
      }
      return (lines, nil)
    } catch {
      return (lines, error)
    }
  }

  private func write(
    _ translations: [Translation], of source: LoadedTranslator.Source
  ) throws {
    var output = Data()
    for translation in translations {
      output += json ? try jsonLine(Record(translation, source)) : Data(translation.text.utf8)
      output.append(0x0A)
    }
    try StandardOutput.write(output)
  }

  private struct Record: Encodable {
    let source: String
    let translation: String
    let score: Double
    let logProbability: Double
    let tokens: [Int32]
    let step: Int
    let checkpointDigest: String

    init(_ translation: Translation, _ weights: LoadedTranslator.Source) {
      source = translation.source
      step = weights.step
      checkpointDigest = weights.checkpointDigest
      self.translation = translation.text
      score = translation.score
      logProbability = translation.logProbability
      tokens = translation.tokens
    }
  }
}

/// One line of JSON with snake_case keys in alphabetical order.
func jsonLine(_ value: some Encodable) throws -> Data {
  let encoder = JSONEncoder()
  encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
  encoder.keyEncodingStrategy = .convertToSnakeCase
  let text = String(decoding: try encoder.encode(value), as: UTF8.self)
  return Data(escapedJSON(text).utf8)
}
