import Core
import Testing

import Datasets

@Suite struct TokenizerTests {
  static let sentences = [
    "the cat sat on the mat", "the dog sat on the log", "die Katze saß auf der Matte",
    "der Hund saß auf dem Klotz", "a cat and a dog", "eine Katze und ein Hund",
  ]

  @Test func trainingTwiceGivesTheSameBytes() throws {
    let training = TokenizerTraining(vocabularySize: 320)
    let first = try training.train(on: Self.sentences)
    let second = try training.train(on: Self.sentences)
    #expect(first.bytes == second.bytes)
    #expect(first.digest == Digest(of: first.bytes))
    #expect(first.vocabularySize <= 320)
  }

  @Test func decodingInvertsEncodingOfNormalisedText() throws {
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences)
    for text in Self.sentences + ["ein Klotz", "unseen: ħ 漢字 🙂", "x"] {
      #expect(try tokenizer.decode(tokenizer.encode(text)) == text)
    }
    #expect(try tokenizer.encode("") == [])
    #expect(try tokenizer.decode([]) == "")
  }

  @Test func normalisationIsNFKC() throws {
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences)
    #expect(try tokenizer.encode("ﬁne  ｃａｔ") == tokenizer.encode("fine cat"))
    #expect(try tokenizer.encode("u\u{308}") == tokenizer.encode("ü"))
  }

  @Test func byteFallbackLeavesNothingUnknown() throws {
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences)
    #expect(try !tokenizer.encode("漢字 Ω").contains(SpecialToken.unknown))
    let plain = try TokenizerTraining(vocabularySize: 60, byteFallback: false)
      .train(on: Self.sentences)
    #expect(try plain.encode("漢").contains(SpecialToken.unknown))
  }

  @Test func specialTokensHaveTheirIds() throws {
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences)
    #expect(try (0..<3).map { try tokenizer.piece($0) } == ["<unk>", "<s>", "</s>"])
    #expect(try tokenizer.decode([1] + tokenizer.encode("a cat") + [2]) == "a cat")
  }

  @Test func idsOutsideOfTheVocabularyAreErrors() throws {
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences)
    for id in [-1, Int32(tokenizer.vocabularySize), .max] {
      #expect(throws: Failure.self) { try tokenizer.decode([id]) }
      #expect(throws: Failure.self) { try tokenizer.piece(id) }
    }
  }

  @Test func bytesThatAreNoModelAreAnErrorNotACrash() throws {
    let good = try TokenizerTraining(vocabularySize: 320).train(on: Self.sentences).bytes
    for bytes in [[], [1, 2, 3], Array("not a model".utf8), Array(good.prefix(good.count / 2))] {
      do {
        _ = try Tokenizer(bytes, origin: "some/model")
        Issue.record("\(bytes.count) bytes were taken for a model")
      } catch {
        #expect(error.exitCode == .badData)
        #expect(error.message.hasPrefix("some/model: expected a sentencepiece model"))
      }
    }
  }

  @Test func textThatCannotGiveAVocabularyIsAnError() {
    for sentences in [[], [""]] {
      #expect(throws: Failure.self) {
        try TokenizerTraining(vocabularySize: 320).train(on: sentences)
      }
    }
    #expect(throws: Failure.self) {
      try TokenizerTraining(vocabularySize: 5).train(on: Self.sentences)
    }
  }
}
