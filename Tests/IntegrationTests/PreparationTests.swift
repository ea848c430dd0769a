import Core
import Foundation
import Testing

/// `lockstep prepare` as processes: ranks, standard input, memory, and its end before the end.
@Suite struct PreparationTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// Writes `count` pairs of clauses out of a fixed vocabulary to `<name>.en` and `<name>.de`.
  private func text(_ name: String, _ count: Int) throws {
    for language in ["en", "de"] {
      var bytes: [UInt8] = []
      for index in 0..<count {
        let stream = RandomStream(seed: 1, purpose: .synthesis, site: 7, a: index)
        for word in 0..<6 + Int(stream.uniform(at: 0) * 8) {
          bytes += "\(language)\(Int(stream.uniform(at: 1 + word) * 900)) ".utf8
        }
        bytes.append(0x0A)
      }
      try scratch.file("\(name).\(language)", Data(bytes))
    }
  }

  private func arguments(_ name: String, _ out: String, _ more: [String] = []) -> [String] {
    [
      "prepare", "--pairs", name, "--source-language", "en", "--target-language", "de", "--out",
      out, "--vocabulary", "400",
    ] + more
  }

  /// The digest of every file of a folder, by name.
  private func digests(_ folder: String) throws -> [String: Digest] {
    let path = scratch.path + "/" + folder
    return try FileManager.default.contentsOfDirectory(atPath: path).reduce(into: [:]) {
      $0[$1] = Digest(of: Array(try Data(contentsOf: URL(fileURLWithPath: "\(path)/\($1)"))))
    }
  }

  private func names() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: scratch.path)
      .filter { !$0.hasPrefix("job-") && $0 != "tmp" }.sorted()
  }

  @Test func anyNumberOfRanksGivesTheSameBytes() throws {
    try text("text", 40_000)
    let more = ["--valid", "300", "--test", "200", "--stretch", "--shard-pairs", "6000"]
    var expected: [String: Digest] = [:]
    for (number, launch) in [Program.Launch.alone, .mpirun(1), .mpirun(2), .mpirun(3)].enumerated()
    {
      let outcome = try scratch.run(arguments("text", "data\(number)", more), launch)
      #expect(outcome.exitCode == 0, "\(launch): \(outcome.error)")
      // One of them speaks.
      #expect(outcome.errorLines.count { $0.hasPrefix("  train: ") } == 1, "\(outcome.error)")
      let found = try digests("data\(number)")
      if number == 0 { expected = found }
      #expect(found == expected, "\(launch)")
      #expect(found.count > 10)
    }
    #expect(try names() == ["data0", "data1", "data2", "data3", "text.de", "text.en"])
  }

  @Test func whatOneRankFindsWrongIsSaidOnce() throws {
    try text("text", 40_000)
    let path = scratch.path + "/text.de"
    var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: path)))
    let line = bytes.indices.filter { bytes[$0] == 0x0A }[20_000]
    bytes[line - 1] = 0xFF
    try scratch.file("text.de", Data(bytes))
    for launch in [Program.Launch.alone, .mpirun(3)] {
      let outcome = try scratch.run(arguments("text", "data"), launch)
      #expect(outcome.exitCode == ExitCode.badData.rawValue, "\(launch)")
      let own = outcome.errorLines.filter { $0.hasPrefix("lockstep: ") }
      #expect(
        own == ["lockstep: text.de: line 20001: expected UTF-8 text, found other bytes"],
        "\(outcome.error)")
      #expect(try names() == ["text.de", "text.en"])
    }
  }

  @Test func standardInputIsATable() throws {
    try text("text", 300)
    let sides = try ["en", "de"].map {
      try String(contentsOfFile: "\(scratch.path)/text.\($0)", encoding: .utf8).allLines.dropLast()
    }
    let table = zip(sides[0], sides[1]).map { "\($0)\t\($1)\n" }.joined()
    for (name, more) in [("text", "files"), ("-", "input")] {
      let outcome = try Job(
        try Program.command(arguments(name, more)), input: Data(table.utf8), in: scratch
      ).outcome()
      #expect(outcome.exitCode == 0, "\(outcome.error)")
    }
    let (files, input) = (try digests("files"), try digests("input"))
    #expect(files["tokenizer.model"] == input["tokenizer.model"])
    let description = try String(
      contentsOfFile: scratch.path + "/input/dataset.json", encoding: .utf8)
    #expect(description.contains("train: standard input, XXH3 \(Digest(of: table))"))
  }

  /// Twice the text takes no more memory, of all processes together.
  @Test func memoryDoesNotGrowWithTheText() throws {
    var peaks: [Double] = []
    for count in [45_000, 90_000] {
      try text("text", count)
      let outcome = try scratch.run(
        arguments("text", "data\(count)", ["--jobs", "2", "--shard-pairs", "8192"]))
      #expect(outcome.exitCode == 0, "\(outcome.error)")
      let line = try #require(outcome.errorLines.last)
      let words = try #require(
        line.wholeMatch(of: #/  memory: at most ([0-9.]+) MB, of all processes together/#),
        "\(line)")
      peaks.append(try #require(Double(words.1)))
    }
    #expect(peaks[1] <= peaks[0] + 5, "\(peaks)")
    // Not without what the learning process takes.
    #expect(peaks[0] > 20)
  }

  /// Until it has told something, so that its folder is there.
  private func begun(_ out: String) throws -> (job: Job, folder: String) {
    let job = try Job(try Program.command(arguments("text", out)), in: scratch)
    let folder = try eventually("it builds") {
      try #require(job.isRunning, "\(job.errorSoFar)")
      return try names().first {
        $0.hasPrefix(".\(out).partial-") && FileSystem.exists("\(scratch.path)/\($0)/work/fates")
      }
    }
    return (job, folder)
  }

  @Test func onRequestItEndsAndLeavesNothing() throws {
    try text("text", 60_000)
    for signal in [SIGTERM, SIGINT] {
      let (job, _) = try begun("data")
      job.send(signal)
      #expect(try job.outcome().exitCode == 128 + signal)
      #expect(try names() == ["text.de", "text.en"])
    }
  }

  @Test func whatAKilledOneLeftTheNextOneRemoves() throws {
    try text("text", 60_000)
    let (job, folder) = try begun("data")
    job.send(SIGKILL)
    #expect(try job.outcome().exitCode == 128 + SIGKILL)
    #expect(try names() == [folder, "text.de", "text.en"])
    let outcome = try scratch.run(arguments("text", "data"))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(try names() == ["data", "text.de", "text.en"])
    #expect(!FileSystem.exists(scratch.path + "/data/work"))
  }
}
