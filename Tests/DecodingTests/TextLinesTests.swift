import Core
import Decoding
import Foundation
import Testing

@Suite struct TextLinesTests {
  @Test(arguments: [
    ("", []), ("\n", [""]), ("a", ["a"]), ("a\n", ["a"]), ("a\n\nb", ["a", "", "b"]),
    ("\u{E4}\r\n\u{1F600}\r\n\n", ["\u{E4}", "\u{1F600}", ""]), ("a\rb\n", ["a\rb"]),
  ])
  func linesAreSplitAtLineFeeds(text: String, expected: [String]) throws {
    #expect(try lines(Array(text.utf8)) == expected)
  }

  @Test func linesLongerThanAReadAreWhole() throws {
    let long = (0..<5).map { String(repeating: "\u{E4}\($0)", count: 30_000 * $0 + 1) }
    #expect(try lines(Array(long.joined(separator: "\n").utf8)) == long)
  }

  @Test(arguments: [[0xFF], [0xC3], [0xED, 0xA0, 0x80], [0xC0, 0x80]] as [[UInt8]])
  func bytesThatAreNotUTF8AreNamedByTheirLine(bytes: [UInt8]) throws {
    let failure = #expect(throws: Failure.self) {
      try lines(Array("good\n\n".utf8) + bytes + Array("\nafter\n".utf8))
    }
    #expect(failure?.exitCode == .badData)
    #expect(failure?.message.hasPrefix("pipe: line 3 is not UTF-8") == true)
  }

  @Test(arguments: ["a\rb\rc\r", "a\rb"])
  func aTextThatEndsItsLinesWithCarriageReturnsAloneIsNamed(text: String) throws {
    let failure = #expect(throws: Failure.self) { try lines(Array(text.utf8)) }
    #expect(failure?.exitCode == .badData)
    #expect(failure?.message.hasPrefix("pipe: its lines end with CR alone") == true)
    #expect(try lines(Array("a\r".utf8)) == ["a"])
    #expect(try lines(Array("x\n\(text)".utf8)).count == 2)
  }

  @Test func aLineWithoutEndIsRefusedBeforeItFillsTheMemory() throws {
    let longest = [UInt8](repeating: 0x61, count: TextLines.lineByteLimit)
    #expect(try lines(Array("b\n".utf8) + longest).count == 2)
    let failure = #expect(throws: Failure.self) {
      try lines(Array("b\n".utf8) + longest + [0x61])
    }
    #expect(failure?.message.hasPrefix("pipe: line 2 is longer than 1048576 bytes") == true)
  }

  /// Whoever waits for an answer has written a whole line and no more.
  @Test func aPauseIsSeenAfterAWholeLineOnly() throws {
    var ends: [Int32] = [0, 0]
    try #require(pipe(&ends) == 0)
    defer { close(ends[0]) }
    func write(_ text: String) { #expect(Foundation.write(ends[1], text, text.utf8.count) > 0) }
    var input = TextLines(descriptor: ends[0], name: "pipe")
    write("a\nb\nc")
    #expect(try input.next() == "a")
    #expect(try !input.pauses(milliseconds: 10_000))
    #expect(try input.next() == "b")
    #expect(try input.pauses(milliseconds: 0))
    write("d\n")
    #expect(try !input.pauses(milliseconds: 10_000))
    #expect(try input.next() == "cd")
    close(ends[1])
    #expect(try !input.pauses(milliseconds: 10_000))
    #expect(try input.next() == nil)
  }

  @Test func aDescriptorThatCannotBeReadIsAnInputError() {
    var input = TextLines(descriptor: -1, name: "nothing")
    let failure = #expect(throws: Failure.self) { try input.next() }
    #expect(failure?.exitCode == .inputOutput)
  }

  /// The lines of bytes that come through a file.
  private func lines(_ bytes: [UInt8]) throws -> [String] {
    let path = FileManager.default.temporaryDirectory
      .appendingPathComponent("lockstep-lines-\(UUID().uuidString)").path
    try FileSystem.writeAtomically(bytes, to: path)
    defer { unlink(path) }
    let descriptor = open(path, O_RDONLY)
    #expect(descriptor >= 0)
    defer { close(descriptor) }
    var input = TextLines(descriptor: descriptor, name: "pipe")
    var lines: [String] = []
    while let line = try input.next() { lines.append(line) }
    #expect(input.count == lines.count)
    return lines
  }
}
