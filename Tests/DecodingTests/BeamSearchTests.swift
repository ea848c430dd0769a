import Core
import Decoding
import Foundation
import Models
import Tensors
import Testing

@Suite struct BeamSearchTests {
  @Test func paperPenaltyHasItsGoldenValues() {
    let penalty = LengthPenalty.paper(alpha: 0.6)
    #expect(abs(penalty.value(length: 10) - 1.732862) < 5e-7)
    #expect(abs(penalty.value(length: 20) - 2.354362) < 5e-7)
    #expect(abs(penalty.value(length: 50) - 3.778565) < 5e-7)
    #expect(penalty.value(length: 1) == 1)
    #expect(LengthPenalty.paper(alpha: 0).value(length: 17) == 1)
    #expect(LengthPenalty.power(alpha: 1).value(length: 17) == 17)
    #expect(abs(LengthPenalty.power(alpha: 0.5).value(length: 49) - 7) < 1e-14)
  }

  /// Penalties that reward length a lot make a wrong stopping bound visible.
  static let penalties: [LengthPenalty] = [
    .paper(alpha: 0), .paper(alpha: 0.6), .paper(alpha: 3), .power(alpha: 0.6), .power(alpha: 1),
    .power(alpha: 2.5),
  ]

  @Test(arguments: penalties, [4, 5])
  func wideBeamFindsWhatExhaustiveSearchFinds(penalty: LengthPenalty, vocabularySize: Int) throws {
    var search = BeamSearch()
    search.beamWidth = 1200
    search.lengthPenalty = penalty
    search.lengthOffset = 2
    search.resultCount = 7
    let seeds: [UInt64] = Array(1...12)
    let model = HistoryModel(vocabularySize: vocabularySize, sentences: seeds)
    let found = try search.search(model, sourceLengths: seeds.map { 1 + Int($0 % 3) })
    for (index, seed) in seeds.enumerated() {
      let expected = exhaustive(
        seed: seed, vocabularySize: vocabularySize, limit: 3 + Int(seed % 3), penalty: penalty)
      #expect(found[index].map(\.tokens) == expected.prefix(7).map(\.tokens))
      for (hypothesis, oracle) in zip(found[index], expected) {
        #expect(abs(hypothesis.logProbability - oracle.logProbability) < 1e-12)
        #expect(abs(hypothesis.score - oracle.score) < 1e-12)
        #expect(hypothesis.isComplete)
      }
    }
  }

  @Test func widthOneFollowsTheArgmax() throws {
    var search = BeamSearch()
    search.beamWidth = 1
    search.lengthOffset = 4
    let seeds: [UInt64] = Array(100..<160)
    let model = HistoryModel(vocabularySize: 5, sentences: seeds)
    let found = try search.search(model, sourceLengths: seeds.map { _ in 3 })
    var cutOff = 0
    for (index, seed) in seeds.enumerated() {
      var prefix = [SpecialToken.begin]
      var logProbability = 0.0
      while prefix.last != SpecialToken.end && prefix.count <= 7 {
        let next = HistoryModel.logProbabilities(seed: seed, prefix: prefix, vocabularySize: 5)
        let best = try #require(next.indices.max { next[$0] < next[$1] })
        logProbability += next[best]
        prefix.append(Int32(best))
      }
      let isComplete = prefix.last == SpecialToken.end
      cutOff += isComplete ? 0 : 1
      #expect(found[index].count == 1)
      #expect(found[index][0].tokens == Array(prefix.dropFirst().dropLast(isComplete ? 1 : 0)))
      #expect(found[index][0].isComplete == isComplete)
      #expect(abs(found[index][0].logProbability - logProbability) < 1e-12)
    }
    #expect(cutOff > 0 && cutOff < seeds.count)
  }

  @Test(arguments: [1, 2, 3, 4])
  func resultDoesNotDependOnTheOtherSentences(width: Int) throws {
    var search = BeamSearch()
    search.beamWidth = width
    search.resultCount = width
    search.lengthOffset = 9
    let seeds: [UInt64] = Array(1...23)
    let lengths = seeds.map { 1 + Int($0 % 5) }
    let together = try search.search(
      HistoryModel(vocabularySize: 11, sentences: seeds), sourceLengths: lengths)
    for (index, seed) in seeds.enumerated() {
      let alone = try search.search(
        HistoryModel(vocabularySize: 11, sentences: [seed]), sourceLengths: [lengths[index]])
      #expect(alone[0] == together[index])
    }
    let backwards = try search.search(
      HistoryModel(vocabularySize: 11, sentences: seeds.reversed()),
      sourceLengths: lengths.reversed())
    #expect(Array(backwards.reversed()) == together)
  }

  @Test func doneSentencesAreNotComputed() throws {
    // Sentence 0 ends surely at once, sentence 1 never before its limit of 1 + 5.
    let model = TableModel(vocabularySize: 4) { step, _ in
      step.sentence == 0 ? [-40, -40, 0, -40] : [-40, -40, -60, 0]
    }
    var search = BeamSearch()
    search.lengthOffset = 5
    let found = try search.search(model, sourceLengths: [1, 1])
    #expect(found[0][0].tokens == [])
    #expect(model.sentencesSeen.dropFirst().allSatisfy { $0 == [1] })
    #expect(model.sentencesSeen.count == 6)
    #expect(found[1][0].tokens.count <= 6)
  }

  @Test func tiesGoToTheEarlierParentThenTheLowerToken() throws {
    // All tokens are equally likely: every hypothesis of a length scores the same.
    let model = TableModel(vocabularySize: 4) { _, _ in [0, 0, 0, 0] }
    var search = BeamSearch()
    search.beamWidth = 2
    search.resultCount = 2
    search.lengthOffset = 1
    search.lengthPenalty = .power(alpha: 1)
    let found = try search.search(model, sourceLengths: [2])
    // Every score is -log 4, so the shortest, found first, stays first.
    #expect(found[0].map(\.tokens) == [[], [0]])
  }

  @Test func whatTheLimitCutsOffIsReturnedIfNothingEnded() throws {
    let model = TableModel(vocabularySize: 5) { _, _ in [-9, -9, -.infinity, 1, 0] }
    var search = BeamSearch()
    search.beamWidth = 3
    search.resultCount = 3
    search.maximumLength = 4
    let found = try search.search(model, sourceLengths: [100])
    #expect(found[0].map(\.tokens) == [[3, 3, 3, 3], [3, 3, 3, 4], [3, 3, 4, 3]])
    #expect(found[0].allSatisfy { !$0.isComplete })
  }

  @Test(arguments: [Float.nan, .infinity, -.infinity])
  func scoresThatAreNotFiniteAreBadData(value: Float) throws {
    let model = TableModel(vocabularySize: 3) { _, _ in [value, value, value] }
    let failure = #expect(throws: Failure.self) {
      try BeamSearch().search(model, sourceLengths: [3])
    }
    #expect(failure?.exitCode == .badData)
  }

  @Test func hugeLogitsAreNormalisedStably() throws {
    let model = TableModel(vocabularySize: 4) { _, _ in [-3e30, 1e30, 1e30, -1e30] }
    var search = BeamSearch()
    search.beamWidth = 1
    search.lengthOffset = 0
    let found = try search.search(model, sourceLengths: [1])
    #expect(found[0][0].tokens == [1])
    #expect(abs(found[0][0].logProbability + log(2)) < 1e-12)
  }

  // MARK: Oracle

  private struct Scored {
    var tokens: [Int32]
    var logProbability: Double
    var score: Double
  }

  /// Every sequence that ends within the limit, best first.
  private func exhaustive(
    seed: UInt64, vocabularySize: Int, limit: Int, penalty: LengthPenalty
  ) -> [Scored] {
    var ended: [Scored] = []
    func visit(_ tokens: [Int32], _ logProbability: Double) {
      if tokens.count == limit { return }
      let next = HistoryModel.logProbabilities(
        seed: seed, prefix: [SpecialToken.begin] + tokens, vocabularySize: vocabularySize)
      for token in 0..<Int32(vocabularySize) {
        let sum = logProbability + next[Int(token)]
        if token == SpecialToken.end {
          let score = sum / penalty.value(length: tokens.count + 1)
          ended.append(Scored(tokens: tokens, logProbability: sum, score: score))
        } else {
          visit(tokens + [token], sum)
        }
      }
    }
    visit([], 0)
    return ended.sorted { $0.score > $1.score }
  }
}

/// A model whose logits are a function of the step.
private final class TableModel: StepwiseModel {
  let vocabularySize: Int
  private let table: (HypothesisStep, Int) -> [Float]
  private var logits = FloatBuffer(count: 0)
  private(set) var sentencesSeen: [Set<Int>] = []

  init(vocabularySize: Int, _ table: @escaping (HypothesisStep, Int) -> [Float]) {
    self.vocabularySize = vocabularySize
    self.table = table
  }

  func advance(_ steps: [HypothesisStep]) -> Matrix {
    logits = FloatBuffer(count: steps.count * vocabularySize)
    let matrix = logits.view.matrix(rows: steps.count, columns: vocabularySize)
    for (row, step) in steps.enumerated() {
      for (token, value) in table(step, sentencesSeen.count).enumerated() {
        matrix[row].base[token] = value
      }
    }
    sentencesSeen.append(Set(steps.map(\.sentence)))
    return matrix
  }
}
