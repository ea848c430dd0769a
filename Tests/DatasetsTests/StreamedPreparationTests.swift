import Core
import Datasets
import Foundation
import Testing

/// Text of several blocks, by any number of threads.
@Suite final class StreamedPreparationTests {
  let scratch = ScratchFolder()

  private func preparation(
    _ training: [TextInput], heldOut: [Split: TextInput] = [:], amounts: [Split: Int] = [:],
    stretches: Bool = false, shardPairs: Int = 5000
  ) -> Preparation {
    Preparation(
      origin: .files(
        training: training, heldOut: heldOut, amounts: amounts,
        languages: Languages(source: "en", target: "de")),
      tokenizer: TokenizerTraining(vocabularySize: 400), maximumPieces: 40,
      shardPairs: shardPairs, seed: 3, stretches: stretches)
  }

  @Test func anyNumberOfThreadsGivesTheSameBytes() throws {
    let text = try scratch.files("text", SampleText(40_000, seed: 1))
    let preparation = preparation([text], amounts: [.validation: 300, .test: 400], stretches: true)
    let manifests = try [1, 2, 3].map {
      try scratch.prepare("jobs-\($0)", preparation, team: Team(jobs: $0))
    }
    #expect(manifests[0].splits["train"]?.shards.count ?? 0 > 3)
    #expect(manifests[0].counts.sentences > 0 && manifests[0].counts.otherNames > 0)
    let digests = try [1, 2, 3].map { try scratch.digest(of: "jobs-\($0)") }
    #expect(digests == [digests[0], digests[0], digests[0]])
  }

  /// Recorded from the folders of lockstep 0.1.0 before it read text in blocks, when it held all of
  /// it in memory.
  @Test(arguments: [
    ("plain", "e1f9cbb0d615d085b7eedff302aecc47"),
    ("amounts", "df5650c16f6576f622faf2ae9082ebf4"),
    ("held out", "3fb2ef89fc29b754fbe34de6c2263daf"),
    ("stretched", "070761e3e359de286a805709fe0635d2"),
    ("windows", "8989baa9674ec4fb55c5b996423881e6"),
  ])
  func whatIsMadeIsWhatWasMadeOfTextInMemory(name: String, digest: String) throws {
    let sample = SampleText(20_000, seed: 2)
    let text = try scratch.files("text", sample, end: name == "windows" ? "\r\n" : "\n")
    let heldOut: [Split: TextInput] = [
      .validation: try scratch.files("valid", SampleText(300, seed: 3)),
      .test: try scratch.files("test", SampleText(300, seed: 4)),
    ]
    let preparation =
      switch name {
      case "amounts": preparation([text], amounts: [.validation: 300, .test: 200])
      case "held out": preparation([text], heldOut: heldOut)
      case "stretched":
        preparation(
          [text], heldOut: [.test: heldOut[.test] ?? text], amounts: [.validation: 100],
          stretches: true)
      default: preparation([text])
      }
    try scratch.prepare("data", preparation)
    #expect("\(try scratch.digest(of: "data", isWhole: false))" == digest, "\(name)")
  }

  @Test func severalFilesAreOneText() throws {
    let sample = SampleText(3000, seed: 5)
    let whole = try scratch.prepare(
      "whole", preparation([try scratch.files("text", sample)], amounts: [.test: 50]))
    let parts = try [0..<1000, 1000..<1001, 1001..<3000].enumerated().map { number, range in
      TextInput.files(
        source: try scratch.file(
          "\(number).en", sample.source[range].joined(separator: "\n") + (number == 2 ? "" : "\n")),
        target: try scratch.file(
          "\(number).de", sample.target[range].joined(separator: "\n")))
    }
    let cut = try scratch.prepare("cut", preparation(parts, amounts: [.test: 50]))
    #expect(cut.counts == whole.counts)
    #expect(cut.tokenizer == whole.tokenizer)
    #expect(cut.splits["test"]?.texts == whole.splits["test"]?.texts)
    #expect(cut.provenance.count == 6)
    let contents = try ["whole", "cut"].map {
      try Dataset(path: "\(scratch.path)/\($0)").allPairs(.training)
    }
    #expect(contents[0] == contents[1])
  }

  /// The first of each kind is named with its file and line.
  @Test func whatIsLeftOutIsNamedByItsFirst() throws {
    let text = TextInput.files(
      source: try scratch.file("a.en", "one house\n\nthe tree\none house\nx\nfine words\n"),
      target: try scratch.file(
        "a.de", "ein Haus\nleer\nder Baum\nein Haus\n\(String(repeating: "y ", count: 30))\ngut\n"))
    let more = TextInput.files(
      source: try scratch.file("b.en", "one house\n\(String(repeating: "a ", count: 41))\nhouse\n"),
      target: try scratch.file("b.de", "ein Haus\n\(String(repeating: "b ", count: 41))\nHaus\n"))
    let staging = try StagingFolder(for: "\(scratch.path)/data")
    let outcome = try preparation(
      [text, more],
      heldOut: [
        .test: .files(
          source: try scratch.file("c.en", "house\n"), target: try scratch.file("c.de", "Haus\n"))
      ]
    ).run(in: staging) { _ in }
    func place(_ name: String, _ line: Int) -> String {
      "\(scratch.path)/\(name).en: line \(line), \(scratch.path)/\(name).de"
    }
    #expect(
      outcome.examples == [
        "empty side: \(place("a", 2))", "very unequal length: \(place("a", 5))",
        "repeated: \(place("a", 4))", "in two splits: \(place("b", 3))",
        "longer than 40 pieces: \(place("b", 2))",
      ])
  }

  @Test(arguments: [1, 3])
  func theFirstBadLineIsNamedWhoeverReadsIt(jobs: Int) throws {
    var sample = Array(SampleText(50_000, seed: 6).text(\.source).utf8)
    let lines = sample.indices.filter { sample[$0] == 0x0A }
    for line in [49_000, 20_000, 33_000] { sample[lines[line] - 1] = 0xFF }
    let path = try scratch.file("bad.en", sample)
    let text = TextInput.files(
      source: path, target: try scratch.file("good.de", SampleText(50_000, seed: 6).text(\.target)))
    let found = failure {
      _ = try scratch.prepare("data", preparation([text]), team: Team(jobs: jobs))
    }
    #expect(found?.exitCode == .badData)
    let line = (20_000...).first { lines[$0] > lines[$0 - 1] + 1 } ?? 0
    #expect(found?.message == "\(path): line \(line + 1): expected UTF-8 text, found other bytes")
    #expect(try scratch.names() == ["bad.en", "good.de"])
  }
}

extension ScratchFolder {
  @discardableResult
  func prepare(_ name: String, _ preparation: Preparation, team: Team) throws -> DatasetManifest {
    try preparation.run(in: StagingFolder(for: "\(path)/\(name)"), team: team) { _ in }.manifest
  }
}
