import Core
import Models

/// A line and its translation.
package struct Translation: Equatable, Sendable {
  package var source: String
  package var text: String
  /// The translation's pieces, without special tokens.
  package var tokens: [Int32]
  /// Log-probability divided by the length penalty.
  package var score: Double
  package var logProbability: Double
}

/// Translates lines of text: encodes, batches lines of similar length, searches, decodes.
package struct Translator {
  package typealias Encode = (String) throws -> [Int32]
  package typealias Decode = ([Int32]) throws -> String

  package var search = BeamSearch()
  /// The most source tokens in one batch; a longer sentence is a batch of its own.
  package var batchTokens = 2048
  private let model: any TranslationModel
  private let encode: Encode
  private let decode: Decode

  /// - Parameters:
  ///   - encode: pieces of a line, without special tokens; none for a blank line.
  ///   - decode: the text of pieces.
  package init(
    model: any TranslationModel, encode: @escaping Encode, decode: @escaping Decode
  ) {
    self.model = model
    self.encode = encode
    self.decode = decode
  }

  /// The longest sentence on either side, end-of-sequence included; nil is no limit.
  package var maximumLength: Int? { model.maximumLength }

  /// Attention takes memory and time with the square of a line's length: no sentence is so long.
  package static let longestLine = 4096
  /// Bytes of a text that is cut into pieces, which takes time with the square of its length, too.
  package static let longestText = 16 * longestLine
  /// Rows of cached keys and values that a batch may take whatever its budget: hypotheses times
  /// their steps.
  private static let leastRows = 1 << 15

  /// Translates lines, each for itself; a line without pieces becomes an empty one.
  ///
  /// - Parameter firstLineNumber: of `lines[0]`, for messages.
  /// Throws: `Failure` (.badData) with the line's number if a sentence exceeds the model's
  /// positions, `longestLine` or `longestText`; what `encode` and `decode` throw.
  package func translate(
    _ lines: [String], firstLineNumber: Int = 1
  ) throws -> [Translation] {
    let sources = try lines.enumerated().map { index, line in
      try pieces(of: line, lineNumber: firstLineNumber + index)
    }
    var result = lines.map {
      Translation(source: $0, text: "", tokens: [], score: 0, logProbability: 0)
    }
    for batch in batches(sources.map(\.count)) {
      let hypotheses = try translate(PackedSequences(batch.map { sources[$0] }))
      for (index, hypothesis) in zip(batch, hypotheses) {
        result[index].text = oneLine(try decode(hypothesis.tokens))
        result[index].tokens = hypothesis.tokens
        result[index].score = hypothesis.score
        result[index].logProbability = hypothesis.logProbability
      }
    }
    return result
  }

  /// Refuses a line that `translate` would refuse.
  package func requireTranslatable(_ line: String, lineNumber: Int) throws {
    _ = try pieces(of: line, lineNumber: lineNumber)
  }

  /// Of a line, with the end; none for a line without pieces.
  private func pieces(of line: String, lineNumber: Int) throws -> [Int32] {
    guard line.utf8.count <= Self.longestText else {
      throw Failure(
        .badData,
        "line \(lineNumber): \(line.utf8.count) bytes, at most \(Self.longestText) are translated; "
          + "split it into sentences")
    }
    let pieces = try encode(line)
    if pieces.isEmpty { return pieces }
    try checkLength(pieces.count + 1, lineNumber: lineNumber)
    return pieces + [SpecialToken.end]
  }

  /// The best hypothesis for each source.
  private func translate(_ sources: PackedSequences) throws(Failure) -> [Hypothesis] {
    var search = search
    search.resultCount = 1
    search.maximumLength = model.maximumLength
    let lengths = (0..<sources.count).map(sources.length)
    let steps = lengths.map(search.stepLimit).max() ?? 0
    let session = model.session(
      sources: sources,
      limits: .init(hypotheses: sources.count * search.beamWidth, steps: steps))
    return try search.search(session, sourceLengths: lengths).map { $0[0] }
  }

  /// Indices of sources in batches of similar length, longest first.
  ///
  /// A batch ends where its source tokens reach `batchTokens`, and where its hypotheses would have
  /// too many rows: of short sentences many fit by their tokens, and each may become long.
  package func batches(_ lengths: [Int]) -> [[Int]] {
    let order = lengths.indices.filter { lengths[$0] > 0 }
      .sorted { (lengths[$1], $0) < (lengths[$0], $1) }
    let mostRows = max(Self.leastRows, 16 * batchTokens)
    var batches: [[Int]] = []
    var (tokens, rows) = (0, 0)
    for index in order {
      let ownRows = search.beamWidth * search.stepLimit(sourceLength: lengths[index])
      tokens += lengths[index]
      rows += ownRows
      if batches.isEmpty || tokens > batchTokens || rows > mostRows {
        batches.append([index])
        (tokens, rows) = (lengths[index], ownRows)
      } else {
        batches[batches.count - 1].append(index)
      }
    }
    return batches
  }

  private func checkLength(_ length: Int, lineNumber: Int) throws(Failure) {
    if let maximum = model.maximumLength, length > maximum {
      throw Failure(
        .badData,
        "line \(lineNumber): \(length) pieces (end included), but the model's learned positions "
          + "end at \(maximum); split the sentence")
    }
    guard length <= Self.longestLine else {
      throw Failure(
        .badData,
        "line \(lineNumber): \(length) pieces (end included), at most \(Self.longestLine) are "
          + "translated; split it into sentences")
    }
  }

  private func oneLine(_ text: String) -> String {
    text.contains(where: \.isNewline)
      ? text.split(whereSeparator: \.isNewline).joined(separator: " ") : text
  }
}
