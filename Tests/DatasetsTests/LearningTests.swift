import Core
import Datasets
import Foundation
import Testing

/// What a vocabulary is learned from, and where.
@Suite final class LearningTests {
  let scratch = ScratchFolder()

  private static let sentences = (0..<60).map { "the house number \($0) stands by tree \($0 % 7)" }

  private func learned(
    from sentences: [String]
  ) throws -> (tokenizer: Tokenizer, told: [String]) {
    var told: [String] = []
    let tokenizer = try TokenizerTraining(vocabularySize: 320).train(on: sentences) {
      told.append($0)
    }
    return (tokenizer, told)
  }

  /// Recorded with the trainer in this process, before it had one of its own.
  @Test func ordinaryTextGivesTheSameModelAsEver() throws {
    let (tokenizer, told) = try learned(from: Self.sentences)
    #expect(told == [])
    #expect("\(tokenizer.digest)" == "77fdef31a658e0fbd0604f6005cd1597")
  }

  /// Beyond 65,535 characters the trainer ended its process, from 33,000 it crashed.
  @Test(arguments: [4097, 33_000, 65_535, 300_000])
  func aLongWordIsLeftOutAndTold(byteCount: Int) throws {
    let plain = try learned(from: Self.sentences)
    let word = String(repeating: "z", count: byteCount)
    let (tokenizer, told) = try learned(
      from: Self.sentences.dropLast() + ["\(Self.sentences.last ?? "") \(word)", word])
    #expect(tokenizer.bytes == plain.tokenizer.bytes)
    #expect(told == ["no pieces are learned from 2 words longer than 4096 bytes"])
  }

  @Test func theLongestWordThatIsLearnedFromIsLearnedFrom() throws {
    // Each of these becomes eighteen characters.
    for word in [String(repeating: "z", count: 4096), String(repeating: "\u{FDFA}", count: 1365)] {
      let (tokenizer, told) = try learned(from: Self.sentences + [word])
      #expect(told == [])
      #expect(try tokenizer.bytes != learned(from: Self.sentences).tokenizer.bytes)
    }
  }

  /// The trainer marks rare characters with it and left out every line that had one.
  @Test func aLineWithTheReservedCharacterIsLearnedFrom() throws {
    let plain = try learned(from: Self.sentences)
    let (tokenizer, told) = try learned(
      from: Self.sentences.map { "\u{2585}" + $0.replacing(" ", with: " \u{2585}\u{2585}") })
    #expect(tokenizer.bytes == plain.tokenizer.bytes)
    let count = 60 * 15
    #expect(
      told
        == ["no pieces are learned from \(count) times U+2585, which the trainer keeps for itself"])
    #expect(try tokenizer.decode(tokenizer.encode("a \u{2585} b")) == "a \u{2585} b")
  }

  /// Of words that are as frequent, as many are taken as there is room for.
  @Test func wordsAreChosenByHowOftenTheyOccur() {
    // One word 9 times, two 4 times, five twice.
    let words = [(9, [50]), (4, [60, 10]), (2, [7, 3, 9, 1, 5])] as [(Int, [UInt64])]
    let counts = Dictionary(uniqueKeysWithValues: words.map { ($0, $1.count) })
    for (limit, least, room) in [(8, 1, 0), (9, 1, 0), (6, 3, 3), (3, 3, 0), (2, 5, 1), (0, 10, 0)]
    {
      var choice = WordChoice(counts, limit: limit)
      #expect(choice.leastCount == least && choice.room == room, "\(limit)")
      choice.choose(among: words.first { $0.0 == least - 1 }?.1 ?? [])
      let taken = words.flatMap { count, hashes in
        hashes.filter { choice.takes($0, count: count) }
      }
      #expect(taken.count == min(limit, 8))
      if limit == 6 { #expect(Set(taken) == [50, 60, 10, 1, 3, 5]) }
      if limit == 2 { #expect(Set(taken) == [50, 10]) }
    }
  }

  @Test func textOfNothingElseIsRefusedWithWhatItHolds() throws {
    let texts = [
      "\u{2585}", String(repeating: "a", count: 5000), String(repeating: "a ", count: 1 << 20),
    ]
    let found = failure { _ = try learned(from: texts) }
    #expect(found?.exitCode == .badData)
    #expect(
      found?.message
        == "tokenizer: expected training text, found none but for 1 words longer than 4096 bytes,"
        + " 1 texts longer than 1048576 bytes, 1 times U+2585, which the trainer keeps for itself")
  }

  @Test func aLongWordIsCountedAmongThePairsThatAreTooLong() throws {
    let long = String(repeating: "漢", count: 300_000)
    let lines = Self.sentences.map { $0 + "\n" }.joined()
    let source = try scratch.file("a", lines + "\(long)\n")
    let target = try scratch.file("b", lines + "\(long)x\n")
    var told: [String] = []
    let manifest = try Preparation.files(source, target)
      .run(in: StagingFolder(for: "\(scratch.path)/data")) { told.append($0) }.manifest
    #expect(manifest.counts.tooLong == 1)
    #expect(manifest.counts.kept == 60)
    #expect(told.contains("no pieces are learned from 2 words longer than 4096 bytes"))
  }
}
