import Core
import Decoding
import Foundation
import Testing

/// What `make_bleu_corpora.py` recorded from sacreBLEU.
private struct RecordedCorpus: Decodable {
  struct Segment: Decodable {
    var translation: String
    var reference: String
    var translationWords: String
    var referenceWords: String
  }

  var signature: String
  var verboseScore: String
  var score: Double
  var matchCounts: [Int]
  var totalCounts: [Int]
  var precisions: [Double]
  var brevityPenalty: Double
  var systemLength: Int
  var referenceLength: Int
  var segments: [Segment]

  static let names = [
    "messy", "short", "identical", "smoothed", "without-fourgrams", "without-matches", "empty",
  ]

  static func read(_ name: String) throws -> RecordedCorpus {
    let url = try #require(
      Bundle.module.url(forResource: "Resources/bleu-\(name)", withExtension: "json"))
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    return try decoder.decode(RecordedCorpus.self, from: Data(contentsOf: url))
  }
}

@Suite struct BLEUTests {
  @Test(arguments: RecordedCorpus.names)
  func corpusScoreIsThatOfSacreBLEU(name: String) throws {
    let recorded = try RecordedCorpus.read(name)
    let bleu = BLEU(
      translations: recorded.segments.map(\.translation),
      references: recorded.segments.map(\.reference))
    #expect(bleu.matchCounts == recorded.matchCounts)
    #expect(bleu.totalCounts == recorded.totalCounts)
    #expect(bleu.systemLength == recorded.systemLength)
    #expect(bleu.referenceLength == recorded.referenceLength)
    #expect(abs(bleu.score - recorded.score) < 1e-9)
    #expect(abs(bleu.brevityPenalty - recorded.brevityPenalty) < 1e-12)
    #expect(zip(bleu.precisions, recorded.precisions).allSatisfy { abs($0 - $1) < 1e-12 })
    #expect(bleu.verboseScore == recorded.verboseScore)
  }

  @Test(arguments: RecordedCorpus.names)
  func wordsAreThoseOfTokenizer13a(name: String) throws {
    for segment in try RecordedCorpus.read(name).segments {
      // Bytes, because `String` would call another spelling of an accent equal.
      let translation = MtevalTokenizer.words(segment.translation).joined(separator: " ")
      #expect(Array(translation.utf8) == Array(segment.translationWords.utf8))
      let reference = MtevalTokenizer.words(segment.reference).joined(separator: " ")
      #expect(Array(reference.utf8) == Array(segment.referenceWords.utf8))
    }
  }

  @Test func signatureIsThatOfSacreBLEUButForTheVersion() throws {
    let recorded = try RecordedCorpus.read("messy").signature
    let parameters = { (text: String) in text.split(separator: "|").dropLast() }
    #expect(parameters(BLEU.signature) == parameters(recorded))
    #expect(BLEU.signature.hasSuffix("|version:lockstep-\(lockstepVersion)"))
  }

  @Test func canonicallyEqualSpellingsAreDifferentWords() {
    let bleu = BLEU(translations: ["caf\u{E9}"], references: ["cafe\u{301}"])
    #expect(bleu.matchCounts == [0, 0, 0, 0])
  }

  @Test func emptyCorpusScoresZero() {
    let bleu = BLEU(translations: [], references: [])
    #expect(bleu.score == 0)
    #expect(bleu.brevityPenalty == 1)
  }
}
