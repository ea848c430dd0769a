import CHDF5
import Core
import Foundation
import HDF5
import Testing

/// The failure that `body` throws; nil when it throws nothing.
func failure(_ body: () throws -> Void) -> Failure? {
  do { try body() } catch { return error as? Failure }
  return nil
}

@Suite struct DefectTests {
  @Test func whatCannotBeOpenedIsNamedWithItsKind() throws {
    try withTemporaryFolder { folder in
      let missing = failure { _ = try StoredFile.open(folder + "/none.h5") }
      #expect(missing?.exitCode == .missingInput)
      #expect(missing?.message.hasPrefix(folder + "/none.h5: ") == true)
      #expect(failure { _ = try StoredFile.open(folder) }?.exitCode == .badData)

      let foreign = folder + "/foreign.h5"
      try FileSystem.writeAtomically(Array("not at all".utf8), to: foreign)
      let found = failure { _ = try StoredFile.open(foreign) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("is not an HDF5 file") == true)
      try FileSystem.writeAtomically([], to: foreign)
      #expect(failure { _ = try StoredFile.open(foreign) }?.message.contains("is empty") == true)
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
        let found = failure { _ = try StoredFile.open(path) }
        #expect(found?.exitCode == .badData, "\(count) bytes")
        #expect(found?.message.contains("\n") == false)
        if count > 96 { #expect(found?.message.contains("is truncated") == true) }
      }
    }
  }

  @Test func whatFailsIsNamedWithTheReasonHDF5Gives() throws {
    let file = try File.createInMemory(named: "somewhere")
    let found = failure { try file.setAttribute("x", of: "/absent", to: .signed(1)) }
    #expect(found?.exitCode == .inputOutput)
    let start = "somewhere: attribute x of /absent: cannot create the attribute (HDF5: "
    #expect(found?.message.hasPrefix(start) == true)
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
      let found = failure { _ = try StoredFile.open(path).read("/x", as: UInt64.self) }
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
    let found = failure { try file.setAttribute("x", of: "/\u{1b}[2J", to: .signed(1)) }
    #expect(found?.message.contains("\\u{1b}[2J") == true)
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

  @Test func aDatasetThatNamesAFileOfItsReaderIsNotRead() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/hostile.h5"
      try FileSystem.writeAtomically(Array("secret!!".utf8), to: folder + "/secret")
      let file = H5Fcreate(path, lockstep_truncate(), lockstep_default(), lockstep_default())
      let list = H5Pcreate(lockstep_dataset_create())
      #expect(H5Pset_external(list, folder + "/secret", 0, 8) >= 0)
      let space = H5Screate_simple(1, [2], nil)
      let dataset = H5Dcreate2(
        file, "/x", lockstep_ieee_f32(), space, lockstep_default(), list, lockstep_default())
      // Once File is in use, links into other files are unknown to this process.
      _ = try File.createInMemory(named: "any")
      #expect(
        H5Lcreate_external("other.h5", "/x", file, "/y", lockstep_default(), lockstep_default())
          < 0)
      for close in [H5Dclose(dataset), H5Sclose(space), H5Pclose(list), H5Fclose(file)] {
        #expect(close >= 0)
      }
      let opened = try StoredFile.open(path)
      let external = failure { _ = try opened.read("/x", as: Float.self) }
      #expect(external?.message.contains("keeps its data in other files") == true)
      let nodes = opened.tree()
      #expect(nodes.map(\.kind) == [.dataset])
      #expect(nodes[0].defect != nil)
    }
  }

  @Test func aShapeThatTheStoredBytesCannotFillIsRefusedBeforeItIsAllocated() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/bomb.h5"
      let file = H5Fcreate(path, lockstep_truncate(), lockstep_default(), lockstep_default())
      let list = H5Pcreate(lockstep_dataset_create())
      #expect(H5Pset_chunk(list, 1, [1024]) >= 0)
      let space = H5Screate_simple(1, [1 << 50], nil)
      let dataset = H5Dcreate2(
        file, "/x", lockstep_ieee_f32(), space, lockstep_default(), list, lockstep_default())
      for close in [H5Dclose(dataset), H5Sclose(space), H5Pclose(list), H5Fclose(file)] {
        #expect(close >= 0)
      }
      let found = failure { _ = try StoredFile.open(path).read("/x", as: Float.self) }
      #expect(found?.exitCode == .badData)
      #expect(found?.message.contains("far too few") == true)
    }
  }

  @Test func aFileSystemWithoutLocksDoesNotPreventReading() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/locked.h5"
      let file = try File.create(at: path)
      try file.write([Float(1)], to: "/x")
      try file.close()
      // A lock that cannot be had looks to libhdf5 like a file system without locks.
      let descriptor = Foundation.open(path, O_RDWR)
      defer { Foundation.close(descriptor) }
      try #require(flock(descriptor, LOCK_EX) == 0)
      #expect(try StoredFile.open(path).read("/x") == [Float(1)])
    }
  }
}
