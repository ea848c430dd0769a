import Core
import Foundation
import Testing

/// What the confined process says is believed no more than the file itself.
@Suite struct LyingReaderTests {
  private static let folder = URL(fileURLWithPath: CommandLine.arguments[0])
    .deletingLastPathComponent().path
  private static let signature: [UInt8] = [0x89, 0x48, 0x44, 0x46, 0x0d, 0x0a, 0x1a, 0x0a]

  /// Opens `file` in a program whose confined process is a script instead.
  private func open(
    _ file: String, confined script: String, in folder: String
  ) throws -> (code: Int32, reason: Process.TerminationReason, lines: [String]) {
    let probe = folder + "/ConfinementProbe"
    try FileManager.default.copyItem(atPath: Self.folder + "/ConfinementProbe", toPath: probe)
    try FileSystem.writeAtomically(
      Array("#!/bin/sh\n\(script)\n".utf8), to: folder + "/lockstep")
    #expect(chmod(folder + "/lockstep", 0o755) == 0)
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/timeout")
    process.arguments = ["60", probe, file]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (
      process.terminationStatus, process.terminationReason,
      text.split(separator: "\n").map(String.init)
    )
  }

  private func answer(_ datasets: [String]) -> String {
    let root = #"{"path":"/","kind":"group","shape":[],"attributes":[]}"#
    let others = datasets.enumerated().map { index, text in
      #"{"path":"/\#(index)","kind":"dataset","attributes":[],\#(text)}"#
    }
    let objects = ([root] + others).joined(separator: ",")
    return "echo '{\"structure\":{\"_0\":{\"objects\":[\(objects)]}}}'"
  }

  @Test func shapesThatCannotBeMultipliedAreDefects() throws {
    try withTemporaryFolder { folder in
      let file = folder + "/file.h5"
      try FileSystem.writeAtomically(Self.signature + [UInt8](repeating: 0, count: 92), to: file)
      let huge = #""shape":[4294967296,4294967296,4294967296]"#
      let script = answer([
        huge,
        #"\#(huge),"type":"string","texts":["a"]"#,
        #"\#(huge),"type":"float32","offset":8"#,
        #""shape":[2],"type":"string","texts":["a"]"#,
        #""shape":[1],"type":"string","texts":["a"]"#,
        #""shape":[3],"type":"float32","offset":8"#,
        #""shape":[0,4611686018427387904,4],"type":"float32""#,
      ])
      let found = try open(file, confined: script, in: folder)
      #expect(found.reason == .exit && found.code == 0, "\(found)")
      try #require(found.lines.count == 7)
      #expect(found.lines[0].contains("lacks its type"))
      for index in [1, 2, 6] { #expect(found.lines[index].contains("an impossible shape")) }
      #expect(found.lines[3].contains("another number of texts"))
      #expect(found.lines[4] == "/4 1")
      #expect(found.lines[5] == "/5 3")
    }
  }

  @Test func chunksThatCannotBeAreDefects() throws {
    try withTemporaryFolder { folder in
      let file = folder + "/file.h5"
      try FileSystem.writeAtomically(Self.signature + [UInt8](repeating: 0, count: 92), to: file)
      func chunks(
        _ shape: String, _ chunk: String, _ places: String, _ fill: String = ""
      ) -> String {
        let chunks = #"{"shape":\#(chunk),"filters":[],"places":\#(places)}"#
        return #""shape":\#(shape),"type":"uint8","chunks":\#(chunks)\#(fill)"#
      }
      let fill = #","fill":[7]"#
      let lies: [(dataset: String, words: String)] = [
        (chunks("[2,2]", "[1,2]", "[8,2,0,10,2,0]"), "/0 4"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,0,0,0]", fill), "/1 4"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,0,0,0]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,0,0,0]", #","fill":[7,7]"#), "of another type"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,0,0,0]", #","fill":[]"#), "of another type"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,0,2,0]", fill), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,99,2,0]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,9223372036854775807,2,0]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,8,95,0]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,8,-2,0]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,2,0,8,2,-1]"), "far too few"),
        (chunks("[2,2]", "[1,2]", "[8,90,0,8,90,0]"), "shares its bytes"),
        (chunks("[2,2]", "[1,2]", "[8,2,0]"), "another number of chunks"),
        (chunks("[2,2]", "[1,2,1]", "[8,2,0,10,2,0]"), "impossible size"),
        (chunks("[2,2]", "[]", "[]"), "impossible size"),
        (chunks("[]", "[]", "[8,1,0]"), "impossible size"),
        (chunks("[2,2]", "[0,2]", "[8,2,0,10,2,0]"), "impossible size"),
        (chunks("[2,2]", "[-1,2]", "[8,2,0,10,2,0]"), "impossible size"),
        (chunks("[2,2]", "[4611686018427387904,4]", "[8,2,0]"), "impossible size"),
        (chunks("[2,2]", "[1,134217728]", "[8,2,0,10,2,0]"), "impossible size"),
        (chunks("[1073741824,2]", "[1,2]", "[]"), "another number of chunks"),
        (#""shape":[4],"type":"uint8","fill":[7]"#, " 4"),
        (#""shape":[1073741824],"type":"uint8","fill":[7]"#, "far too few"),
        (#""shape":[4],"type":"uint8","offset":-8,"fill":[7]"#, "far too few"),
      ]
      let found = try open(file, confined: answer(lies.map(\.dataset)), in: folder)
      #expect(found.reason == .exit && found.code == 0, "\(found)")
      try #require(found.lines.count == lies.count)
      for (lie, line) in zip(lies, found.lines) {
        #expect(line.contains(lie.words), "\(lie.dataset): \(line)")
      }
    }
  }

  @Test func aProcessThatNeverStopsTalkingIsNotListenedToForEver() throws {
    try withTemporaryFolder { folder in
      let file = folder + "/file.h5"
      try FileSystem.writeAtomically(Self.signature + [0], to: file)
      let stopwatch = Stopwatch()
      let found = try open(
        file, confined: "while sleep 0.7; do printf ' '; done", in: folder)
      #expect(found.code == 65, "\(found)")
      #expect(found.lines.first?.contains("within limits (30 s") == true)
      #expect((29..<50).contains(stopwatch.seconds))
    }
  }

  /// A file of the largest size there is: where memory has a file system, for it has such.
  @Test func sizesThatTogetherOverflowAreDefects() throws {
    let file = "/dev/shm/hdf5-tests-\(UUID().uuidString).h5"
    try FileSystem.writeAtomically(Self.signature, to: file)
    defer { unlink(file) }
    guard truncate(file, off_t.max) == 0 else { return }
    try withTemporaryFolder { folder in
      let dataset = #""shape":[9223372036854775799],"type":"uint8","offset":8"#
      let found = try open(
        file, confined: answer([dataset, dataset, dataset]), in: folder)
      #expect(found.reason == .exit && found.code == 0, "\(found)")
      try #require(found.lines.count == 3)
      #expect(found.lines[0] == "/0 9223372036854775799")
      for index in 1...2 { #expect(found.lines[index].contains("shares its bytes")) }
    }
  }
}
