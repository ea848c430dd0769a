import Core
import Foundation
import Testing

/// Files in a folder that somebody else has filled.
@Suite struct OwnFileTests {
  private static let purposes: [OpenFile.Purpose] = [.reading, .updating, .appending, .holding]

  private func withTemporaryFolder(_ body: (String) throws -> Void) throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "own-file-tests-\(UUID().uuidString)").path
    try FileSystem.createFolder(folder + "/run/logs")
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(folder)
  }

  private func code(_ name: String, in folder: String, _ purpose: OpenFile.Purpose) -> ExitCode? {
    do throws(Failure) {
      _ = try OpenFile(own: name, below: folder + "/run", for: purpose)
      return nil
    } catch {
      return error.exitCode
    }
  }

  private func refusal(of folder: String) -> ExitCode? {
    do throws(Failure) {
      try OpenFolder(folder).requireOwn()
      return nil
    } catch {
      return error.exitCode
    }
  }

  @Test func whatIsMissingIsMadeWhereItIsMeantTo() throws {
    try withTemporaryFolder { folder in
      let codes = Self.purposes.map { code("logs/a", in: folder, $0) }
      #expect(codes == [.missingInput, .inputOutput, nil, nil])
      for purpose in Self.purposes { #expect(code("logs/a", in: folder, purpose) == nil) }
      let log = try OpenFile(own: "logs/a", below: folder + "/run", for: .appending)
      for line in ["one\n", "two\n"] { #expect(log.append(Array(line.utf8)) == 4) }
      #expect(try FileSystem.readAll(folder + "/run/logs/a", limit: 99) == Array("one\ntwo\n".utf8))
    }
  }

  @Test(arguments: ["a link", "a dangling link", "a linked folder", "a pipe", "a folder"])
  func whatIsNoRegularFileIsRefusedWithoutWaiting(planted: String) throws {
    try withTemporaryFolder { folder in
      let (file, victim) = (folder + "/run/logs/a", folder + "/victim")
      try FileSystem.createFolder(victim)
      try FileSystem.writeAtomically(Array("precious".utf8), to: victim + "/a")
      switch planted {
      case "a link": symlink(victim + "/a", file)
      case "a dangling link": symlink(victim + "/b", file)
      case "a linked folder":
        try FileSystem.removeFolderIfEmpty(folder + "/run/logs")
        symlink(victim, folder + "/run/logs")
      case "a pipe": mkfifo(file, 0o600)
      default: try FileSystem.createFolder(file)
      }
      for purpose in Self.purposes {
        #expect(code("logs/a", in: folder, purpose) == .badData, "\(purpose)")
      }
      #expect(try FileSystem.names(in: victim) == ["a"])
      #expect(try FileSystem.readAll(victim + "/a", limit: 99) == Array("precious".utf8))
    }
  }

  /// The run directory itself is the person's to name.
  @Test func aLinkToTheFolderIsFollowed() throws {
    try withTemporaryFolder { folder in
      symlink("run", folder + "/latest")
      _ = try OpenFile(own: "a", below: folder + "/latest", for: .holding)
      #expect(FileSystem.kind(of: folder + "/run/a") == .regularFile)
    }
  }

  @Test(.enabled(if: geteuid() == 0, "SKIPPED: needs root to give files away"))
  func aFileIsOnesOwnOrOfOnesGroup() throws {
    try withTemporaryFolder { folder in
      let file = folder + "/run/a"
      try FileSystem.writeAtomically([1], to: file)
      for (user, group, expected) in [
        (0, 12_345, nil), (12_345, 0, nil), (12_345, 12_345, ExitCode.badData),
      ] as [(uid_t, gid_t, ExitCode?)] {
        #expect(chown(file, user, group) == 0)
        for purpose in Self.purposes {
          #expect(code("a", in: folder, purpose) == expected, "\(user):\(group)")
        }
      }
      #expect(try FileSystem.names(in: folder + "/run") == ["a", "logs"])
    }
  }

  @Test(.enabled(if: geteuid() == 0, "SKIPPED: needs root to give folders away"))
  func aFolderIsOnesOwnOrOfOnesGroup() throws {
    try withTemporaryFolder { folder in
      let logs = folder + "/run/logs"
      for (user, group, expected) in [
        (0, 12_345, nil), (12_345, 0, nil), (12_345, 12_345, ExitCode.badData),
      ] as [(uid_t, gid_t, ExitCode?)] {
        #expect(chown(logs, user, group) == 0)
        #expect(refusal(of: logs) == expected, "\(user):\(group)")
      }
      let left = try FileSystem.names(in: logs)
      #expect(left == [])
    }
  }

  @Test func aFolderStandsUntilAnotherOrALinkIsInItsPlace() throws {
    try withTemporaryFolder { folder in
      let logs = folder + "/run/logs"
      let opened = try OpenFolder(logs)
      var stood = [opened.stands(at: logs)]
      try FileSystem.rename(logs, to: logs + "-moved")
      stood.append(opened.stands(at: logs))
      try FileSystem.createFolder(logs)
      stood.append(opened.stands(at: logs))
      try FileSystem.removeFolderIfEmpty(logs)
      #expect(symlink("logs-moved", logs) == 0)
      stood.append(opened.stands(at: logs))
      #expect(stood == [true, false, false, false])
    }
  }

  @Test func nobodyWaitsForAPipeInThePlaceOfAFile() throws {
    try withTemporaryFolder { folder in
      #expect(mkfifo(folder + "/hosts", 0o600) == 0)
      let failure = #expect(throws: Failure.self) {
        try FileSystem.readAll(folder + "/hosts", limit: 99)
      }
      #expect(failure?.exitCode == .badData)
    }
  }

  @Test func whatIsWrittenHasNoSecondName() throws {
    try withTemporaryFolder { folder in
      try FileSystem.writeAtomically([1], to: folder + "/other")
      #expect(link(folder + "/other", folder + "/run/a") == 0)
      let codes = Self.purposes.map { code("a", in: folder, $0) }
      #expect(codes == [nil, .badData, .badData, .badData])
    }
  }

  @Test func whatIsWrittenAtomicallyFollowsNoLinkThatWaitsForIt() throws {
    try withTemporaryFolder { folder in
      try FileSystem.writeAtomically(Array("precious".utf8), to: folder + "/victim")
      for name in ["a", "a.tmp-\(getpid())"] { symlink("../victim", folder + "/run/" + name) }
      try FileSystem.writeAtomically([7], to: folder + "/run/a")
      #expect(try FileSystem.readAll(folder + "/victim", limit: 99) == Array("precious".utf8))
      #expect(try FileSystem.readAll(folder + "/run/a", limit: 9, followsLinks: false) == [7])
      #expect(try FileSystem.names(in: folder + "/run") == ["a", "logs"])
    }
  }

  @Test func whatIsMadeHasTheModeThatTheUmaskLeaves() async {
    await #expect(processExitsWith: .success) {
      let folder = FileManager.default.temporaryDirectory
        .appending(path: "own-file-tests-\(UUID().uuidString)").path
      umask(0o002)
      try FileSystem.createFolder(folder)
      defer { try? FileManager.default.removeItem(atPath: folder) }
      try FileSystem.writeAtomically([1], to: folder + "/a")
      _ = try OpenFile(creating: folder + "/b")
      _ = try OpenFile(own: folder + "/c", for: .appending)
      for (name, mode) in [("", 0o775), ("/a", 0o664), ("/b", 0o664), ("/c", 0o664)] {
        var status = stat()
        #expect(stat(folder + name, &status) == 0)
        #expect(Int(status.st_mode & 0o7777) == mode, "\(name)")
      }
    }
  }
}

@Suite struct PathTextTests {
  @Test(arguments: [
    ("/a/b", "/a", "b"), ("/a/b/", "/a", "b"), ("a", ".", "a"), ("a/b", "a", "b"), ("/a", "/", "a"),
    ("/", "/", "/"), ("a//", ".", "a"),
    // To Swift's characters these have no slash, or one line feed.
    ("a/\u{301}b", "a", "\u{301}b"), ("a\r\n/b", "a\r\n", "b"),
  ])
  func parentAndNameFollowFromTheBytes(path: String, parent: String, name: String) {
    #expect(Array(FileSystem.parent(of: path).utf8) == Array(parent.utf8))
    #expect(Array(FileSystem.name(of: path).utf8) == Array(name.utf8))
  }

  @Test func whatIsMountedIsKnown() {
    #expect(FileSystem.isMountPoint("/proc"))
    #expect(!FileSystem.isMountPoint("/proc/sys"))
    #expect(!FileSystem.isMountPoint("/absent"))
  }

  @Test func namesThatAreNoTextAreNobodys() throws {
    let folder = FileManager.default.temporaryDirectory
      .appending(path: "path-tests-\(UUID().uuidString)").path
    try FileSystem.createFolder(folder)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    #expect(try FileSystem.isEmpty(folder))
    let name = Array((folder + "/caf").utf8CString.dropLast()) + [CChar(bitPattern: 0xe9), 0]
    close(open(name, O_WRONLY | O_CREAT, 0o600))
    #expect(try FileSystem.names(in: folder) == [])
    #expect(try !FileSystem.isEmpty(folder))
  }
}

@Suite struct EscapedTextTests {
  @Test func nothingThatDrivesATerminalIsLeftAndJSONMeansTheSame() throws {
    let text = "a\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{2028}\u{e0001}ü"
    #expect(escaped(text) == #"a\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{2028}\u{e0001}ü"#)
    let json = String(decoding: try JSONEncoder().encode([text]), as: UTF8.self)
    let safe = escapedJSON("\n" + json)
    #expect(safe.unicodeScalars.dropFirst().allSatisfy { !$0.canDriveTerminals })
    #expect(try JSONDecoder().decode([String].self, from: Data(safe.utf8)) == [text])
  }
}
