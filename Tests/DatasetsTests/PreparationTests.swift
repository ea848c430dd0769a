import Core
import Datasets
import Foundation
import Testing

@Suite final class PreparationTests {
  let scratch = ScratchFolder()

  static let english = [
    "a house", "the old house", "my garden is green", "the garden of the house", "we see a tree",
    "a green tree", "the tree in the garden", "my old tree",
  ]
  static let german = [
    "ein Haus", "das alte Haus", "mein Garten ist grün", "der Garten des Hauses",
    "wir sehen einen Baum", "ein grüner Baum", "der Baum im Garten", "mein alter Baum",
  ]

  private func text(_ lines: [String]) -> String { lines.map { $0 + "\n" }.joined() }

  @Test func equalInputGivesEqualBytes() throws {
    let source = try scratch.file("text.en", text(Self.english))
    let target = try scratch.file("text.de", text(Self.german))
    for preparation in [
      Preparation.files(source, target, amounts: [.validation: 2, .test: 2]),
      Preparation.copy(),
    ] {
      let first = try scratch.prepare("first", preparation)
      let second = try scratch.prepare("second", preparation)
      #expect(first == second)
      let names = try scratch.names(in: "first")
      #expect(try names == scratch.names(in: "second"))
      for name in names {
        #expect(try scratch.bytes("first/\(name)") == scratch.bytes("second/\(name)"), "\(name)")
      }
      for name in ["first", "second"] {
        try FileManager.default.removeItem(atPath: "\(scratch.path)/\(name)")
      }
    }
  }

  @Test func copyTaskBecomesADatasetThatReadsBack() throws {
    let manifest = try scratch.prepare("data", .copy())
    let dataset = try Dataset(path: "\(scratch.path)/data")
    #expect(dataset.manifest == manifest)
    #expect(dataset.shardCount(of: .training) > 4)
    #expect(manifest.counts.kept == Split.allCases.reduce(0) { $0 + dataset.pairCount(of: $1) })
    // 16 symbols, each with and without a word's beginning, that beginning, and 3 special tokens.
    #expect(dataset.vocabularySize == 36)
    for pair in try dataset.allPairs(.training) {
      #expect(pair[0] == pair[1])
      #expect((1...10).contains(pair[0].count))
      let text = try dataset.tokenizer.decode(pair[0])
      #expect(text.split(separator: " ").allSatisfy { $0.count == 1 })
    }
    for split in [Split.validation, .test] {
      let texts = try dataset.texts(of: split)
      let pairs = try dataset.allPairs(split)
      #expect(!texts.isEmpty)
      #expect(try texts.map { try [$0.source, $0.target].map(dataset.tokenizer.encode) } == pairs)
    }
    let training = Set(try dataset.allPairs(.training).map { $0[0] })
    #expect(try dataset.allPairs(.test).allSatisfy { !training.contains($0[0]) })
  }

  @Test func everythingLeftOutIsCounted() throws {
    let source = try scratch.file(
      "text.en",
      text(
        Self.english + [
          "", "only here", "  a   house ", "no", "ﬁne", "fine", String(repeating: "a ", count: 20),
        ]))
    let target = try scratch.file(
      "text.de",
      text(
        Self.german + [
          "nur hier", " \u{A0}\u{FEFF}", "ein\tHaus\r", String(repeating: "ja ", count: 30),
        ]
          + ["gut", "gut", String(repeating: "b ", count: 20)]))
    let counts = try scratch.prepare("data", .files(source, target, maximumPieces: 12)).counts
    #expect(counts.read == 15)
    #expect(counts.empty == 2)
    // White space and compatibility forms make no difference.
    #expect(counts.duplicate == 2)
    #expect(counts.lopsided == 1)
    #expect(
      counts.kept == counts.read - counts.empty - counts.duplicate - counts.lopsided
        - counts.tooLong)
    #expect(counts.tooLong >= 1)
    let dataset = try Dataset(path: "\(scratch.path)/data")
    #expect(try dataset.allPairs(.training).joined().allSatisfy { (1...12).contains($0.count) })
  }

  @Test func heldOutPairsAreAsManyAsAskedAndNoTrainingTextIsAmongThem() throws {
    // Repeated source texts with other translations must not be cut apart.
    let source = try scratch.file("a", text((0..<100).map { "sentence number \($0 % 50)" }))
    let target = try scratch.file("b", text((0..<100).map { "Satz Nummer \($0)" }))
    try scratch.prepare(
      "data", .files(source, target, amounts: [.validation: 7, .test: 11]))
    let dataset = try Dataset(path: "\(scratch.path)/data")
    #expect(dataset.pairCount(of: .test) == 11)
    #expect(dataset.pairCount(of: .validation) <= 7)
    let sources = try Split.allCases.map { Set(try dataset.allPairs($0).map { $0[0] }) }
    #expect(sources[0].isDisjoint(with: sources[1]))
    #expect(sources[0].isDisjoint(with: sources[2]))
    #expect(sources[1].isDisjoint(with: sources[2]))
  }

  @Test func givenTestTextStaysWholeAndLeavesTraining() throws {
    let source = try scratch.file("a", text(Self.english))
    let target = try scratch.file("b", text(Self.german))
    let test = TextInput.files(
      source: try scratch.file("c", text(Array(Self.english.prefix(2)))),
      target: try scratch.file("d", text(Array(Self.german.prefix(2)))))
    let manifest = try scratch.prepare("data", .files(source, target, heldOut: [.test: test]))
    #expect(manifest.splits["test"]?.pairs == 2)
    #expect(manifest.splits["train"]?.pairs == 6)
    #expect(manifest.counts.overlapping == 2)
    #expect(manifest.splits["valid"]?.shards == [])
  }

  @Test func filesOfUnequalLengthAreNamedWithTheirCounts() throws {
    let source = try scratch.file("text.en", "one\ntwo\nthree\n")
    let target = try scratch.file("text.de", "eins\nzwei")
    let found = failure { try scratch.prepare("data", .files(source, target)) }
    #expect(found?.exitCode == .badData)
    #expect(found?.message.contains("\(source) and \(target)") == true)
    #expect(found?.message.contains("found 3 and 2") == true)
    #expect(try scratch.names() == ["text.de", "text.en"])
  }

  @Test func bytesThatAreNotUTF8AreNamedByFileAndLine() throws {
    let source = try scratch.file("text.en", Array("good\nb".utf8) + [0xFF, 0x0A])
    let target = try scratch.file("text.de", "gut\nschlecht\n")
    let found = failure { try scratch.prepare("data", .files(source, target)) }
    #expect(found?.exitCode == .badData)
    #expect(found?.message.hasPrefix("\(source): line 2: expected UTF-8") == true)
  }

  @Test func linesMayEndAsOnWindowsButNotAsOnOldMacs() throws {
    let expected = try scratch.prepare(
      "plain",
      .files(
        try scratch.file("plain.en", text(Self.english)),
        try scratch.file("plain.de", text(Self.german)), amounts: [.test: 2]))
    let ends = ["\r\n", "\r"].map { end in
      [Self.english, Self.german].map { lines in
        lines.map { $0 + end }.joined()
      }
    }
    let files = try ends.enumerated().map { number, texts in
      try texts.enumerated().map { try scratch.file("\(number)-\($0)", $1) }
    }
    let windows = try scratch.prepare("data", .files(files[0][0], files[0][1], amounts: [.test: 2]))
    #expect(windows.splits["test"]?.texts == expected.splits["test"]?.texts)
    #expect(windows.tokenizer == expected.tokenizer)
    #expect(windows.counts == expected.counts)
    let found = failure { try scratch.prepare("mac", .files(files[1][0], files[1][1])) }
    #expect(found?.exitCode == .badData)
    #expect(
      found?.message
        == "\(files[1][0]): expected lines that end with LF or CR LF, found CR alone; convert it,"
        + " for example with tr '\\r' '\\n'")
  }

  @Test func textOfOnesOwnIsStretchedOnRequestOnly() throws {
    let names = ["Gimp", "Krita", "Scribus", "Blender"]
    let source = try scratch.file(
      "a", text(names.map { "Start \($0). It opens a file." } + ["The same.", "A test. With two."]))
    let target = try scratch.file(
      "b",
      text(names.map { "Starten Sie \($0). Es öffnet." } + ["The same.", "Ein Test. Mit zwei."]))
    func counts(_ name: String, stretches: Bool) throws -> PairCounts {
      try scratch.prepare(name, .files(source, target, stretches: stretches)).counts
    }
    let plain = try counts("plain", stretches: false)
    #expect(plain.sentences == 0 && plain.otherNames == 0 && plain.kept == 6)
    let stretched = try counts("stretched", stretches: true)
    // Four sentences with names, the one they share, and two of the test's.
    #expect(stretched.sentences == 7)
    #expect(stretched.otherNames > 0)
    // What is the same on both sides is the person's to leave out.
    #expect(stretched.untranslated == 0)
    #expect(stretched.kept == 6 + 7 + stretched.otherNames)
  }

  @Test func missingFilesAreMissingInput() throws {
    let source = try scratch.file("text.en", "one\n")
    for path in ["\(scratch.path)/none", scratch.path] {
      let found = failure { try scratch.prepare("data", .files(source, path)) }
      #expect(found?.exitCode == .missingInput)
      #expect(found?.message.hasPrefix(path) == true)
    }
  }

  @Test func textWithoutPairsIsBadDataAndLeavesNothing() throws {
    let empty = try scratch.file("empty", "")
    let blank = try scratch.file("blank", "\n  \n\n")
    let long = try scratch.file("long", "one two three four five six\n")
    for (path, pieces) in [(empty, 100), (blank, 100), (long, 1)] {
      let found = failure {
        try scratch.prepare("data", .files(path, path, maximumPieces: pieces))
      }
      #expect(found?.exitCode == .badData)
    }
    #expect(try scratch.names() == ["blank", "empty", "long"])
  }

  @Test func askingForMoreHeldOutPairsThanThereAreIsBadData() throws {
    let source = try scratch.file("a", text(Self.english))
    let found = failure {
      try scratch.prepare("data", .files(source, source, amounts: [.test: 8]))
    }
    #expect(found?.exitCode == .badData)
  }

  /// The tokenizer reads them as spaces: to the model the pairs are one.
  @Test(arguments: ["\u{200B}", "\u{2581}", "\u{FEFF}"])
  func textsThatDifferInInvisibleSpacesAreTheSame(space: String) throws {
    let source = try scratch.file("a", "one two\none\(space)two\nthree\n")
    let target = try scratch.file("b", "eins zwei\neins\(space)zwei\ndrei\n")
    let manifest = try scratch.prepare("data", .files(source, target))
    #expect(manifest.counts.duplicate == 1)
  }

  @Test func aPipeIsReadOnce() throws {
    let text = Data(text(Self.english).utf8)
    let paths = try ["a", "b"].map { try scratch.file($0, String(decoding: text, as: UTF8.self)) }
    let expected = try scratch.prepare("files", .files(paths[0], paths[1])).provenance
    // Opening a pipe waits for the other side.
    for name in ["a", "b"] {
      let path = "\(scratch.path)/\(name)"
      try FileManager.default.removeItem(atPath: path)
      try #require(mkfifo(path, 0o600) == 0)
      Thread.detachNewThread {
        let pipe = FileHandle(forWritingAtPath: path)
        try? pipe?.write(contentsOf: text)
        try? pipe?.close()
      }
    }
    #expect(try scratch.prepare("pipes", .files(paths[0], paths[1])).provenance == expected)
  }

  @Test func aFolderWithFilesIsNeverTouched() throws {
    try FileSystem.createFolder("\(scratch.path)/data")
    _ = try scratch.file("data/mine", "precious")
    let found = failure { try scratch.prepare("data", .copy()) }
    #expect(found?.exitCode == .cannotCreate)
    #expect(try scratch.names(in: "data") == ["mine"])
    try FileSystem.createFolder("\(scratch.path)/empty")
    try scratch.prepare("empty", .copy())
    #expect(try scratch.names() == ["data", "empty"])
  }

  /// Somebody has put something into its place meanwhile.
  @Test func whatIsMadeButCannotBeMovedStays() throws {
    let staging = try StagingFolder(for: "\(scratch.path)/data")
    try FileSystem.createFolder("\(scratch.path)/data")
    _ = try scratch.file("data/mine", "precious")
    let found = failure { _ = try Preparation.copy().run(in: staging) { _ in } }
    let kept = "data.made-\(getpid())"
    #expect(found?.exitCode == .cannotCreate)
    #expect(found?.message.hasSuffix("is whole in \(scratch.path)/\(kept)") == true, "\(found)")
    #expect(try scratch.names() == ["data", kept])
    _ = try Dataset(path: "\(scratch.path)/\(kept)")
  }

  @Test func whatADeadProcessLeftIsReplaced() throws {
    // No process has the number 2^22 + 1: it is above the largest Linux gives.
    let stale = ".data.partial-4194305"
    // And one whose removal was cut off.
    let half = ".data.partial-4194305.gone"
    // Somebody else's build goes on: process 1 is always there.
    let living = ".data.partial-1"
    for name in [stale, half, living] {
      try FileSystem.createFolder("\(scratch.path)/\(name)")
      _ = try scratch.file("\(name)/half", "made")
    }
    try scratch.prepare("data", .copy())
    #expect(try scratch.names() == [living, "data"])
  }
}
