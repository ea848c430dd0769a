import Core
import Decoding
import Foundation
import Models
import Tensors
import Testing

@Suite struct TranslatorTests {
  static let lines = [
    "hello", "", "a", "zebra crossing", "   ", "bb", "a", "quite a long line of letters", "yes",
  ]

  @Test(arguments: [1, 7, 30, 1000], [1, 4])
  func everyLineIsAnsweredInItsPlace(batchTokens: Int, beamWidth: Int) throws {
    let model = EchoModel()
    var translator = Translator(model: model, encode: Letters.encode, decode: Letters.decode)
    translator.batchTokens = batchTokens
    translator.search.beamWidth = beamWidth
    let found = try translator.translate(Self.lines)
    #expect(found.map(\.source) == Self.lines)
    #expect(found.map(\.text) == Self.lines.map { $0.filter { $0 != " " } })
    #expect(found.map(\.tokens) == Self.lines.map(Letters.encode))
    #expect(found.map(\.logProbability).allSatisfy { $0 <= 0 && $0 > -0.1 })
    // Within the budget, but for sentences that exceed it alone; nothing twice, nothing lost.
    let budgetKept = model.batches.allSatisfy {
      $0.count == 1 || $0.reduce(0) { $0 + $1.count } <= batchTokens
    }
    #expect(budgetKept)
    let expected = Self.lines.map(Letters.encode).filter { !$0.isEmpty }.map { $0 + [2] }
    #expect(model.batches.flatMap { $0 }.sorted(by: ordered) == expected.sorted(by: ordered))
  }

  @Test func batchesHoldSimilarLengths() {
    var translator = Translator(model: EchoModel(), encode: Letters.encode, decode: Letters.decode)
    translator.batchTokens = 12
    #expect(translator.batches([3, 0, 9, 4, 3, 12, 1]) == [[5], [2], [3, 0, 4, 6]])
    translator.batchTokens = 1
    #expect(translator.batches([2, 3]) == [[1], [0]])
    #expect(translator.batches([0, 0]) == [])
  }

  /// Each of a thousand words may become fifty pieces in every hypothesis.
  @Test func shortSentencesAreBoundByWhatTheyMayBecome() {
    var translator = Translator(model: EchoModel(), encode: Letters.encode, decode: Letters.decode)
    translator.batchTokens = 2048
    translator.search.beamWidth = 4
    let batches = translator.batches([Int](repeating: 2, count: 1000))
    #expect(batches.map(\.count).reduce(0, +) == 1000)
    #expect(batches.allSatisfy { $0.count * 52 * 4 <= 1 << 15 })
  }

  @Test func aLineWithoutEndIsNamed() throws {
    let translator = Translator(model: EchoModel(), encode: Letters.encode, decode: Letters.decode)
    let line = String(repeating: "a", count: Translator.longestLine)
    let failure = #expect(throws: Failure.self) { try translator.translate(["a", line]) }
    #expect(failure?.exitCode == .badData)
    #expect(failure?.message.hasPrefix("line 2: 4097 pieces (end included), at most 4096") == true)
    #expect(throws: Failure.self) { try translator.requireTranslatable(line, lineNumber: 2) }
    try translator.requireTranslatable("a", lineNumber: 1)
    let reference = [Int32](repeating: 5, count: Translator.longestLine)
    let pairs = [[5], reference].map {
      ReferencePair(source: "", reference: "", sourceTokens: [5], referenceTokens: $0)
    }
    // Nothing is scored: a reference of 30,000 pieces took 7 GB.
    let refusal = #expect(throws: Failure.self) {
      try Evaluation(pairs, translator: translator) { _ in preconditionFailure("scored") }
    }
    #expect(refusal?.message.hasPrefix("pair 2: 4097 pieces (end included), at most 4096") == true)
  }

  @Test func aTextIsMeasuredBeforeItIsCut() throws {
    let translator = Translator(
      model: EchoModel(), encode: { $0.isEmpty ? [] : [5] }, decode: { _ in "" })
    let longest = String(repeating: "a", count: Translator.longestText)
    try translator.requireTranslatable(longest, lineNumber: 1)
    let failure = #expect(throws: Failure.self) {
      try translator.requireTranslatable(longest + "a", lineNumber: 7)
    }
    #expect(failure?.message.hasPrefix("line 7: 65537 bytes, at most 65536") == true)
  }

  @Test func sentenceBeyondThePositionsIsNamedByItsLine() throws {
    let model = EchoModel()
    model.maximumLength = 8
    let translator = Translator(model: model, encode: Letters.encode, decode: Letters.decode)
    #expect(try translator.translate(["sevenen"])[0].text == "sevenen")
    let failure = #expect(throws: Failure.self) {
      try translator.translate(["short", "", "eightttt"], firstLineNumber: 1025)
    }
    #expect(failure?.exitCode == .badData)
    #expect(failure?.message.hasPrefix("line 1027: 9 pieces (end included)") == true)
  }

  @Test func lineBreaksInATranslationBecomeSpaces() throws {
    let translator = Translator(model: EchoModel(), encode: Letters.encode) { _ in "a\nb\r\nc" }
    #expect(try translator.translate(["x"])[0].text == "a b c")
  }

  @Test func evaluationOfAPerfectModelIsPerfect() throws {
    let pairs = ["eins zwei drei vier", "ja", "fünf sechs sieben acht neun"].map {
      ReferencePair(
        source: $0, reference: $0, sourceTokens: Letters.encode($0),
        referenceTokens: Letters.encode($0))
    }
    // Words survive, because this coding keeps spaces.
    let translator = Translator(
      model: EchoModel(), encode: { $0.unicodeScalars.map { Int32($0.value) + 3 } },
      decode: { String(String.UnicodeScalarView($0.compactMap { Unicode.Scalar(UInt32($0 - 3)) })) }
    )
    var scored: [MicroBatch] = []
    let evaluation = try Evaluation(pairs, translator: translator, microBatchTokens: 20) { batch in
      scored.append(batch)
      var loss = LossSum()
      loss.tokens = batch.targetOutput.count
      loss.negativeLogLikelihood = log(3) * Double(loss.tokens)
      return loss
    }
    #expect(
      evaluation.bleu.score
        == BLEU(
          translations: pairs.map(\.reference), references: pairs.map(\.reference)
        ).score)
    #expect(evaluation.translations == pairs.map(\.source))
    #expect(abs(evaluation.perplexity - 3) < 1e-12)
    #expect(scored.map(\.pairCount) == [2, 1])
    #expect(evaluation.loss.tokens == pairs.reduce(0) { $0 + $1.referenceTokens.count + 1 })
  }
}

private func ordered(_ left: [Int32], _ right: [Int32]) -> Bool {
  left.lexicographicallyPrecedes(right)
}

/// Pieces are characters other than spaces.
private enum Letters {
  static func encode(_ line: String) -> [Int32] {
    line.unicodeScalars.filter { $0 != " " }.map { Int32($0.value) + 3 }
  }

  static func decode(_ tokens: [Int32]) -> String {
    String(String.UnicodeScalarView(tokens.compactMap { Unicode.Scalar(UInt32($0 - 3)) }))
  }
}

/// Repeats its source, nearly surely.
private final class EchoModel: TranslationModel {
  var maximumLength: Int?
  private(set) var batches: [[[Int32]]] = []

  func session(
    sources: PackedSequences, limits: TranslationSession.Limits
  ) -> any StepwiseModel {
    let sentences = (0..<sources.count).map {
      Array(sources.tokens[sources.offsets[$0]..<sources.offsets[$0 + 1]])
    }
    batches.append(sentences)
    return Session(sentences: sentences, limits: limits)
  }

  private final class Session: StepwiseModel {
    let vocabularySize = 300
    let sentences: [[Int32]]
    let limits: TranslationSession.Limits
    var step = 0
    var logits = FloatBuffer(count: 0)

    init(sentences: [[Int32]], limits: TranslationSession.Limits) {
      self.sentences = sentences
      self.limits = limits
    }

    func advance(_ steps: [HypothesisStep]) -> Matrix {
      precondition(steps.count <= limits.hypotheses && step < limits.steps, "limits exceeded")
      logits = FloatBuffer(count: steps.count * vocabularySize)
      let matrix = logits.view.matrix(rows: steps.count, columns: vocabularySize)
      for (row, hypothesis) in steps.enumerated() {
        let sentence = sentences[hypothesis.sentence]
        matrix[row].base[step < sentence.count ? Int(sentence[step]) : 2] = 20
      }
      step += 1
      return matrix
    }
  }
}
