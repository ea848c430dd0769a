import Core
import Foundation
import HDF5
import Testing

@Suite struct DefectTests {
  private func failure(_ body: () throws -> Void) -> Failure? {
    do { try body() } catch { return error as? Failure }
    return nil
  }

  @Test func whatCannotBeOpenedIsNamedWithItsKind() throws {
    try withTemporaryFolder { folder in
      let missing = failure { _ = try File.open(folder + "/none.h5") }
      #expect(missing?.exitCode == .missingInput)
      #expect(missing?.message.hasPrefix(folder + "/none.h5: ") == true)
      #expect(failure { _ = try File.open(folder) }?.exitCode == .badData)

      let foreign = folder + "/foreign.h5"
      try FileSystem.writeAtomically(Array("not at all".utf8), to: foreign)
      let found = failure { _ = try File.open(foreign) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("is not an HDF5 file") == true)
      try FileSystem.writeAtomically([], to: foreign)
      #expect(failure { _ = try File.open(foreign) }?.message.contains("is empty") == true)
    }
  }

  @Test func everyTruncationIsAnErrorOfOneLine() throws {
    try withTemporaryFolder { folder in
      let file = try File.createInMemory(named: "whole")
      try file.write((0..<500).map { Float($0) }, to: "/x")
      let image = try file.closeAndReturnImage()
      let path = folder + "/cut.h5"
      for count in stride(from: 0, to: image.count, by: 97) {
        try FileSystem.writeAtomically(Array(image.prefix(count)), to: path)
        let found = failure { _ = try File.open(path) }
        #expect(found?.exitCode == .badData, "\(count) bytes")
        #expect(found?.message.contains("\n") == false)
        if count > 96 { #expect(found?.message.contains("is truncated") == true) }
      }
    }
  }

  @Test func aMissingObjectIsNamedWithTheReasonHDF5Gives() throws {
    let file = try File.createInMemory(named: "somewhere")
    let found = failure { _ = try file.read("/absent", as: Float.self) }
    #expect(found?.exitCode == .badData)
    #expect(found?.message.hasPrefix("somewhere: /absent: cannot open the dataset (HDF5: ") == true)
    #expect(found?.message.contains("doesn't exist") == true)
  }

  @Test func aDamagedChunkIsAnErrorNotAValue() throws {
    try withTemporaryFolder { folder in
      let file = try File.createInMemory(named: "whole")
      let values = scrambled(4096)
      try file.write(values, to: "/x", storage: .compressed)
      var image = try file.closeAndReturnImage()
      image[image.count - 8000] ^= 1
      let path = folder + "/flipped.h5"
      try FileSystem.writeAtomically(image, to: path)
      let found = failure { _ = try File.open(path).read("/x", as: UInt64.self) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("/x: cannot read") == true)
    }
  }

  @Test func aFileThatCannotBeCreatedSaysSo() {
    let found = failure { _ = try File.create(at: "/nonexistent/folder/x.h5") }
    #expect(found?.exitCode == .cannotCreate)
    #expect(found?.message.contains("No such file or directory") == true)
  }

  @Test func controlCharactersInNamesAreEscaped() throws {
    #expect(escaped("a\u{1b}[31m\nß") == "a\\u{1b}[31m\\u{a}ß")
    let file = try File.createInMemory(named: "names")
    let found = failure { _ = try file.read("/\u{1b}[2J", as: Float.self) }
    #expect(found?.message.contains("\u{1b}") == false)
  }

  @Test func h5dumpReadsWhatWasWritten() throws {
    try #require(FileManager.default.fileExists(atPath: "/usr/bin/h5dump"))
    try withTemporaryFolder { folder in
      let path = folder + "/whole.h5"
      let file = try File.create(at: path)
      try file.write([Float(1), 2, 3], shape: [3], to: "/x")
      try file.close()
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/h5dump")
      process.arguments = [path]
      let pipe = Pipe()
      process.standardOutput = pipe
      try process.run()
      let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      #expect(text.contains("H5T_IEEE_F32LE"))
      #expect(text.contains("(0): 1, 2, 3"))
    }
  }
}
