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
      Writes one line for each line read, in the same order; an empty line stays empty.
      Example: echo "a fast text editor" | lockstep translate --checkpoint runs/quickstart
      """)

  /// Lines are translated in windows of this many, so that similar lengths meet in a batch and
  /// output still starts early.
  static let linesPerWindow = 1024

  @Option(help: "A checkpoint, or a run directory (its newest checkpoint).")
  var checkpoint: String

  @OptionGroup var search: SearchOptions

  @Flag(help: "Write one JSON object a line: source, translation, score, log_probability, tokens.")
  var json = false

  func run() throws {
    try prepareKernels()
    var translator = try LoadedTranslator(checkpoint: checkpoint).translator
    search.apply(to: &translator)
    var input = TextLines(descriptor: STDIN_FILENO, name: "standard input")
    // A person who types a line wants its translation now.
    let windowSize = isatty(STDIN_FILENO) == 1 ? 1 : Self.linesPerWindow
    while true {
      let firstLineNumber = input.count + 1
      let (lines, failure) = readWindow(&input, count: windowSize, for: translator)
      let translations = try translator.translate(lines, firstLineNumber: firstLineNumber)
      try write(translations)
      if let failure { throw failure }
      if lines.isEmpty { return }
    }
  }

  /// The next lines, and what is wrong with the one after them: good lines before a bad one are
  /// still translated.
  private func readWindow(
    _ input: inout TextLines, count: Int, for translator: Translator
  ) -> (lines: [String], failure: (any Error)?) {
    var lines: [String] = []
    do {
      while lines.count < count, let line = try input.next() {
        try translator.requireTranslatable(line, lineNumber: input.count)
        lines.append(line)
      }
      return (lines, nil)
    } catch {
      return (lines, error)
    }
  }

  private func write(_ translations: [Translation]) throws {
    var output = Data()
    for translation in translations {
      output += json ? try jsonLine(Record(translation)) : Data(translation.text.utf8)
      output.append(0x0A)
    }
    do {
      try FileHandle.standardOutput.write(contentsOf: output)
    } catch {
      throw Failure(.inputOutput, "standard output: cannot write (\(error.localizedDescription))")
    }
  }

  private struct Record: Encodable {
    let source: String
    let translation: String
    let score: Double
    let logProbability: Double
    let tokens: [Int32]

    init(_ translation: Translation) {
      source = translation.source
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
