import Core
import Datasets
import Foundation
import Testing

/// The forms in which text may come.
@Suite final class TextInputTests {
  let scratch = ScratchFolder()
  private let sample = SampleText(700, seed: 8)

  private func preparation(_ input: TextInput, amounts: [Split: Int] = [.test: 40]) -> Preparation {
    Preparation(
      origin: .files(
        training: [input], heldOut: [:], amounts: amounts,
        languages: Languages(source: "en", target: "de")),
      tokenizer: TokenizerTraining(vocabularySize: 400), maximumPieces: 60)
  }

  /// Pairs, tokenizer and held-out text of what an input gives.
  private func contents(_ input: TextInput) throws -> [String] {
    let manifest = try scratch.prepare("data", preparation(input))
    defer { try? FileManager.default.removeItem(atPath: "\(scratch.path)/data") }
    let dataset = try Dataset(path: "\(scratch.path)/data")
    let pairs = try Split.allCases.map { "\(try dataset.allPairs($0))" }
    return pairs + ["\(manifest.counts)", manifest.tokenizer.digest]
      + (manifest.splits["test"]?.texts.map(\.digest) ?? [])
  }

  /// gzip is what people have.
  private func compress(_ path: String) throws -> String {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/bin/gzip")
    process.arguments = ["-nf", path]
    try process.run()
    process.waitUntilExit()
    return path + ".gz"
  }

  private func lines(_ separator: (String, String) -> String) -> String {
    zip(sample.source, sample.target).map(separator).joined()
  }

  @Test func everyFormOfATextGivesTheSame() throws {
    let expected = try contents(try scratch.files("plain", sample))
    let compressed = TextInput.files(
      source: try compress(try scratch.file("z.en", sample.text(\.source))),
      target: try compress(try scratch.file("z.de", sample.text(\.target))))
    #expect(try contents(compressed) == expected)
    let stem = "\(scratch.path)/z"
    let languages = Languages(source: "en", target: "de")
    #expect(TextInput.named(stem, languages: languages) == compressed)
    #expect(try contents(.named("\(scratch.path)/plain", languages: languages)) == expected)
    // A tab inside of a column would be one between columns.
    let table = lines { source, target in
      "\(source)\t\(target.replacing("\t", with: " "))\r\n"
    }
    let path = try scratch.file("table.tsv", table)
    #expect(TextInput.named(path, languages: languages) == .table(path))
    #expect(try contents(.table(path)) == expected)
    #expect(try contents(.named(try compress(path), languages: languages)) == expected)
    let units = lines { source, target in
      """
      <tu><note>a &lt;b&gt;</note><tuv xml:lang="de-AT"><seg>\(escaped(target))</seg></tuv>
      <tuv lang='EN'><seg>\(escaped(source))</seg></tuv></tu>

      """
    }
    let memory = try scratch.file(
      "memory.tmx", "<?xml version=\"1.0\"?>\n<tmx><body>\n\(units)</body></tmx>\n")
    #expect(TextInput.named(memory, languages: languages) == .memory(memory))
    #expect(try contents(.memory(memory)) == expected)
  }

  private func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;")
      .replacing("ü", with: "&#xFC;").replacing("ï", with: "&#239;")
      .replacing("\u{7F}", with: "&#127;")
  }

  @Test func aMarkAtTheBeginningIsNoText() throws {
    let plain = try contents(try scratch.files("plain", sample))
    let marked = TextInput.files(
      source: try scratch.file("m.en", "\u{FEFF}" + sample.text(\.source)),
      target: try scratch.file("m.de", "\u{FEFF}" + sample.text(\.target, end: "\r\n")))
    #expect(try contents(marked) == plain)
  }

  /// Members of gzip one after another are one text, as `cat a.gz b.gz` makes them.
  @Test func compressedFilesMayBePutTogether() throws {
    let parts = try ["one\ntw", "o\nthree\n"].enumerated().map { number, text in
      try scratch.bytes(
        String(try compress(try scratch.file("\(number)", text)).dropFirst(scratch.path.count + 1)))
    }
    let manifest = try scratch.prepare(
      "data",
      preparation(
        .files(
          source: try scratch.file("all.gz", parts[0] + parts[1]),
          target: try scratch.file("all", "eins\nzwei\ndrei\n")), amounts: [:]))
    #expect(manifest.counts.read == 3 && manifest.counts.kept == 3)
  }

  @Test func codeInsideOfASegmentIsNoText() throws {
    let memory = try scratch.file(
      "a.tmx",
      """
      <tmx><body><!-- <tu> is > not <seg> -->
      <tu><tuv xml:lang="en"><seg>a <bpt i="1">&lt;b&gt;</bpt>big<ept i="1">x</ept> <hi>old</hi>
      house<ph/></seg></tuv><tuv xml:lang="de"><seg><![CDATA[ein <großes> Haus]]></seg></tuv></tu>
      <tu><tuv xml:lang="en"><seg>only here</seg></tuv></tu>
      </body></tmx>
      """)
    var told: [String] = []
    let outcome = try preparation(.memory(memory), amounts: [:])
      .run(in: StagingFolder(for: "\(scratch.path)/data")) { told.append($0) }
    let texts = try Dataset(path: "\(scratch.path)/data").allTexts(.training)
    #expect(texts == [TextPair(source: "a big old house", target: "ein <großes> Haus")])
    #expect(told.contains("\(memory): 1 of 2 units lack one of the languages, the first is unit 2"))
    #expect(outcome.examples == ["empty side: \(memory): unit 2"])
  }

  private func refusal(_ input: TextInput) throws -> Failure? {
    let before = try scratch.names()
    let found = failure { _ = try scratch.prepare("data", preparation(input)) }
    #expect(try scratch.names() == before)
    return found
  }

  @Test func aTableWithOtherColumnsIsRefusedWithItsLine() throws {
    for (text, line, count) in [("a\tb\nc\n", 2, 1), ("a\tb\n\nc\td\te\n", 3, 3)] {
      let path = try scratch.file("t.tsv", text)
      let found = try refusal(.table(path))
      #expect(found?.exitCode == .badData)
      #expect(
        found?.message
          == "\(path): line \(line): expected two columns with a tab between them, found \(count)")
    }
  }

  @Test(arguments: ["UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32"])
  func anotherEncodingIsNamed(encoding: String) throws {
    let kinds: [String: String.Encoding] = [
      "UTF-16": .utf16, "UTF-16LE": .utf16LittleEndian, "UTF-16BE": .utf16BigEndian,
      "UTF-32": .utf32,
    ]
    let data = try #require("a house\nand a tree\n".data(using: kinds[encoding] ?? .utf16))
    let path = try scratch.file("text", Array(data))
    for input in [TextInput.files(source: path, target: path), .table(path), .memory(path)] {
      let found = try refusal(input)
      #expect(found?.exitCode == .badData)
      #expect(
        found?.message
          == "\(path): expected UTF-8 text, found \(encoding); convert it, for example with iconv"
          + " -f \(encoding) -t UTF-8")
    }
  }

  @Test func damagedCompressionIsBadData() throws {
    let whole = try scratch.bytes(
      String(
        try compress(try scratch.file("w", sample.text(\.source)))
          .dropFirst(scratch.path.count + 1)))
    var flipped = whole
    flipped[whole.count / 2] ^= 0x55
    let target = try scratch.file("t", sample.text(\.target))
    for (bytes, word) in [
      (Array(whole.dropLast(9)), "found its end"), (flipped, "damaged"),
      (whole + [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "damaged"),
    ] {
      let path = try scratch.file("d.gz", bytes)
      let found = try refusal(.files(source: path, target: target))
      #expect(found?.exitCode == .badData)
      #expect(found?.message.hasPrefix("\(path): expected ") == true, "\(found)")
      #expect(found?.message.contains(word) == true, "\(found)")
    }
  }

  @Test func whatIsNoTranslationMemoryIsRefusedWithItsLine() throws {
    for (text, word) in [
      ("<html>\n<p>no</p></html>", "line 2: expected a translation memory (TMX), found no units"),
      (
        "<tmx>\n<tu>\n<tu>",
        "line 3: expected a translation memory (TMX), found a unit (tu) inside"
      ),
      (
        "<tmx>\n<tu>", "line 2: expected a translation memory (TMX), found its end inside of a unit"
      ),
      (
        "<tu><tuv lang='en'><seg>\n&unknown;</seg>",
        "line 2: expected a translation memory (TMX), found an unknown reference"
      ),
      (
        "<tu><tuv lang='pl'><seg>a</seg></tuv></tu>",
        "expected units with text in en and de, found none among 1; name the languages"
      ),
    ] {
      let path = try scratch.file("m.tmx", text)
      let found = try refusal(.memory(path))
      #expect(found?.exitCode == .badData)
      #expect(found?.message.hasPrefix("\(path): \(word)") == true, "\(found)")
    }
  }
}
