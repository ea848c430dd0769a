import Core
import Foundation
import Testing

@Suite struct FileSystemTests {
  private func withTemporaryFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "core-tests-\(UUID().uuidString)"
    ).path
    try FileSystem.createFolder(folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(folder)
  }

  @Test func anExchangeSwapsAndARenameIntoAFreePlaceMoves() throws {
    try withTemporaryFolder { folder in
      for name in ["new", "old"] {
        try FileSystem.createFolder("\(folder)/\(name)")
        try FileSystem.writeAtomically(Array(name.utf8), to: "\(folder)/\(name)/file")
      }
      try FileSystem.exchange(folder + "/new", with: folder + "/old")
      #expect(try FileSystem.readAll(folder + "/old/file", limit: 9) == Array("new".utf8))
      #expect(try FileSystem.readAll(folder + "/new/file", limit: 9) == Array("old".utf8))
      try FileSystem.exchange(folder + "/new", with: folder + "/free")
      #expect(try FileSystem.names(in: folder) == ["free", "old"])
      try FileSystem.remove(folder + "/free")
      try FileSystem.remove(folder + "/free")
      #expect(try FileSystem.names(in: folder) == ["old"])
    }
  }

  /// Whatever cannot be reached through a link is explained by it; all else as the system says it.
  @Test func aLinkThatLeadsNowhereIsNamed() throws {
    try withTemporaryFolder { folder in
      let (lost, around) = (folder + "/lost", folder + "/around")
      #expect(symlink("gone/deep", lost) == 0 && symlink("around", around) == 0)
      #expect(symlink(folder, folder + "/alive") == 0)
      let words = "\(lost) is a link to gone/deep that leads nowhere"
      for path in [lost, lost + "/", lost + "/a/b", folder + "/alive/lost/a"] {
        let place = path.contains("alive") ? folder + "/alive/lost" : lost
        let named = words.replacing(lost, with: place)
        #expect(FileSystem.deadLink(on: path) == named)
        let failures = [
          failure { () throws(Failure) in try FileSystem.createFolder(path) },
          failure { () throws(Failure) in _ = try OpenFile(reading: path) },
          failure { () throws(Failure) in _ = try FileSystem.byteCount(of: path) },
          failure { () throws(Failure) in _ = try FileSystem.names(in: path) },
          failure { () throws(Failure) in try FileSystem.writeAtomically([], to: path + "/x") },
          FileSystem.absence(of: path, "no such thing"),
        ]
        for failure in failures {
          #expect(failure?.message.contains("(\(named))") == true, "\(failure?.message ?? "none")")
        }
      }
      #expect(FileSystem.deadLink(on: around)?.contains("is a link to around that") == true)
      for path in [folder, folder + "/alive", folder + "/none", folder + "/alive/none/a", "/"] {
        #expect(FileSystem.deadLink(on: path) == nil)
        #expect(FileSystem.absence(of: path, "no such thing").message == path + ": no such thing")
      }
    }
  }

  private func failure(_ body: () throws(Failure) -> Void) -> Failure? {
    do throws(Failure) {
      try body()
      return nil
    } catch {
      return error
    }
  }

  @Test func aPathLiesInWhatIsMounted() throws {
    #expect(FileSystem.mountPoint(of: "/proc/self/fd") == "/proc")
    #expect(FileSystem.mountPoint(of: "/proc") == "/proc")
    #expect(FileSystem.mountPoint(of: "/proc/gone/long/ago") == "/proc")
    #expect(FileSystem.mountPoint(of: "/") == "/")
  }

  /// A pipe that somebody has made one that does not wait is waited for; one without a reader is an
  /// error.
  @Test func everythingIsWrittenToAPipeThatDoesNotWait() throws {
    signal(SIGPIPE, SIG_IGN)
    let pipe = Pipe()
    let (input, output) = (
      pipe.fileHandleForReading.fileDescriptor, pipe.fileHandleForWriting.fileDescriptor
    )
    #expect(fcntl(output, F_SETFL, O_NONBLOCK) == 0)
    let bytes = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let written = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      #expect(FileSystem.writeAll(bytes, to: output))
      written.signal()
    }
    var found: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 10_000)
    while found.count < bytes.count {
      let count = read(input, &block, block.count)
      guard count > 0 else { break }
      found += block[..<count]
    }
    #expect(found == bytes)
    written.wait()
    try pipe.fileHandleForReading.close()
    #expect(!FileSystem.writeAll([1], to: output) && errno == EPIPE)
  }

  @Test func readingChecksSizeAndEnd() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/bytes"
      try FileSystem.writeAtomically([1, 2, 3], to: path)
      #expect(throws: Failure.self) { _ = try FileSystem.readAll(path, limit: 2) }
      #expect(throws: Failure.self) { _ = try FileSystem.readAll(folder, limit: 2) }
      let file = try OpenFile(reading: path)
      #expect(try file.read(byteCount: 2, at: 1) == [2, 3])
      #expect(throws: Failure.self) { _ = try file.read(byteCount: 3, at: 1) }
    }
  }

  @Test func aReservedFileHasItsSizeAndReadsBackWhatIsWritten() throws {
    try withTemporaryFolder { folder in
      let file = try OpenFile(creating: folder + "/data")
      try file.reserve(byteCount: 10)
      try file.reserve(byteCount: 7)
      #expect(try file.byteCount() == 7)
      try [UInt8]([9, 8]).withUnsafeBytes { bytes in
        try file.write(bytes, at: 5)
      }
      try file.sync()
      file.forgetCachedBytes(at: 0, byteCount: 7)
      #expect(try file.read(byteCount: 7, at: 0) == [0, 0, 0, 0, 0, 9, 8])
    }
  }

  @Test func linksPipesAndDevicesAreNoRegularFiles() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/file"
      try FileSystem.writeAtomically([7], to: path)
      #expect(try OpenFile(readingRegular: path).read(byteCount: 1, at: 0) == [7])
      let (link, pipe) = (folder + "/link", folder + "/pipe")
      try FileManager.default.createSymbolicLink(atPath: link, withDestinationPath: path)
      #expect(mkfifo(pipe, 0o600) == 0)
      for name in [link, pipe, folder, "/dev/zero", folder + "/absent"] {
        #expect(throws: Failure.self) { _ = try OpenFile(readingRegular: name) }
        #expect(throws: Failure.self) { _ = try OpenFile(own: name, for: .updating) }
        #expect(throws: Failure.self) {
          _ = try FileSystem.readAll(name, limit: 9, followsLinks: false)
        }
      }
      #expect(throws: Failure.self) { _ = try OpenFile(creating: path) }
      #expect(FileSystem.kind(of: link) == .link)
      #expect(FileSystem.kind(of: link, followsLinks: true) == .regularFile)
      #expect(FileSystem.kind(of: folder) == .folder)
      #expect(FileSystem.kind(of: pipe) == .other)
      #expect(FileSystem.kind(of: folder + "/absent") == nil)
    }
  }

  @Test func foldersAreMadeWithTheirParentsOrNotAtAll() throws {
    try withTemporaryFolder { folder in
      let deep = folder + "/a/b/c"
      try FileSystem.createFolder(deep + "/")
      try FileSystem.createFolder(deep)
      #expect(FileSystem.kind(of: deep) == .folder)
      #expect(throws: Failure.self) { try FileSystem.createNewFolder(deep) }
      try FileSystem.writeAtomically([1], to: folder + "/file")
      for path in [folder + "/file", folder + "/file/below"] {
        #expect(throws: Failure.self) { try FileSystem.createFolder(path) }
      }
      try FileSystem.removeFolderIfEmpty(folder + "/a")
      #expect(FileSystem.kind(of: deep) == .folder)
      try FileSystem.removeFolderIfEmpty(deep)
      #expect(FileSystem.kind(of: deep) == nil)
      try FileSystem.removeFile(folder + "/file")
      try FileSystem.removeFile(folder + "/file")
      #expect(FileSystem.kind(of: folder + "/file") == nil)
    }
  }
}
