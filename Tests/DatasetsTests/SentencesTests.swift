import Datasets
import Testing

@Suite final class SentencesTests {
  let scratch = ScratchFolder()

  @Test(arguments: [
    ["One sentence"],
    ["A first one.", "And a second.", "Third"],
    ["Is it?", "It is!", "(Really.)", "\"Yes.\"", "Well."],
    ["Programme, z. B. Bach, nach J. S. Bach, u. a. Noten.", "Ähnlich bzw. Anders usw. Ende."],
    ["See e.g. Foo and i.e. Bar etc. There (ca. Ten).", "Next one."],
    ["Version 1.2 of foo.conf and .NET. lower case goes on.", "»Zitat.«", "„Noch eins.“"],
    ["Trailing mark ..."],
  ])
  func aTextIsCutBehindItsSentences(sentences: [String]) {
    #expect(Sentences.of(sentences.joined(separator: " ")) == sentences)
  }

  @Test func anEmptyTextHasNone() { #expect(Sentences.of("") == []) }

  private func corpus(_ pairs: [Split: [(String, String)]]) -> Corpus {
    Corpus(
      pairs: pairs.mapValues { $0.map { TextPair(source: $0, target: $1) } },
      languages: Languages(source: "en", target: "de"), provenance: [], licenceNote: "",
      overlap: .leavesHeldOut)
  }

  @Test func trainingGetsTheSentencesThatBelongTogether() throws {
    let long = String(repeating: "sehr ", count: 6)
    let paragraphs = [
      ("A cat. A dog. A bird.", "Eine Katze. Ein Hund. Ein Vogel."),
      // Other counts, other lengths, something that is there already.
      ("A mouse. It runs.", "Eine Maus rennt."),
      ("A rat. It eats.", "Eine Ratte. Sie frisst \(long)viel."),
      ("A cat. A cow.", "Eine Katze. Eine Kuh."),
      ("A dog.", "Ein Hund."),
      // What is held out, alone or in a paragraph.
      ("A fox. A hen.", "Ein Fuchs. Eine Henne."),
    ]
    var corpus = corpus([
      .training: paragraphs, .test: [("A fox.", "Fuchs.")],
      .validation: [("It lays. A hen.", "Sie legt. Huhn.")],
    ])
    // Items of lists count like sentences.
    corpus.items = [
      ("a\tgull", "eine Möwe"), ("A fox.", "Ein Fuchs."), ("", ""), ("A cat.", "Eine Katze."),
    ]
    .map { TextPair(source: $0, target: $1) }
    let counts = try scratch.prepare("data", .stretched(corpus)).counts
    let dataset = try Dataset(path: "\(scratch.path)/data")
    let added = try dataset.allTexts(.training).dropFirst(paragraphs.count)
    #expect(added.map(\.source) == ["A cat.", "A bird.", "A rat.", "A cow.", "a gull"])
    #expect(
      added.map(\.target) == ["Eine Katze.", "Ein Vogel.", "Eine Ratte.", "Eine Kuh.", "eine Möwe"])
    #expect(counts.sentences == added.count)
    #expect(counts.otherNames == 0)
    #expect(dataset.pairCount(of: .test) == 1 && dataset.pairCount(of: .validation) == 1)
  }

  @Test func untranslatedPairsLeaveTrainingOnly() throws {
    var corpus = corpus([
      .training: [
        ("Foo", "Foo"), ("a cat", "eine Katze"), ("a list", "a list"), ("e\u{301}", "\u{E9}"),
      ],
      .test: [("Bar", "Bar")],
    ])
    corpus.leavesOutUntranslated = true
    let counts = try scratch.prepare("data", .stretched(corpus)).counts
    let dataset = try Dataset(path: "\(scratch.path)/data")
    #expect(try dataset.allTexts(.training).map(\.source) == ["a cat"])
    #expect(dataset.pairCount(of: .test) == 1)
    #expect(counts.untranslated == 3)
  }
}
