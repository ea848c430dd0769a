import Core
import Foundation
import HDF5
import Testing

@Suite struct ConfinementTests {
  private static let folder = URL(fileURLWithPath: CommandLine.arguments[0])
    .deletingLastPathComponent().path

  private func run(_ arguments: [String]) throws -> (code: Int32, reason: Process.TerminationReason)
  {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: arguments[0])
    process.arguments = Array(arguments.dropFirst())
    process.standardInput = FileHandle.nullDevice
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return (process.terminationStatus, process.terminationReason)
  }

  @Test func aConfinedProcessCanNeitherOpenNorStartNorUndoAnything() throws {
    let ending = try run([Self.folder + "/ConfinementProbe"])
    #expect(ending.reason == .exit && ending.code == 0, "attempt \(ending.code) worked")
  }

  @Test func nothingIsOpenedOnceTheLimitIsSet() throws {
    try #require(FileManager.default.isExecutableFile(atPath: "/usr/bin/strace"))
    try withTemporaryFolder { folder in
      let idea = try #require(HostileFiles.storage.first)
      let path = try HostileFiles.write(idea, in: folder)
      let log = folder + "/calls"
      let ending = try run([
        "/usr/bin/strace", "-f", "-o", log, "-e", "trace=execve,open,openat,creat,prlimit64,prctl",
        Self.folder + "/lockstep", "inspect", path,
      ])
      #expect(ending.code == 0)
      let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
      let start = try #require(
        lines.first { $0.contains("execve") && $0.contains("read-structure") })
      let process = try #require(start.split(separator: " ").first)
      let own = lines.drop { $0 != start }.filter { $0.hasPrefix(process + " ") }
      let isLimit = { (line: Substring) in line.contains("RLIMIT_NOFILE, {rlim_cur=0") }
      let limit = try #require(own.firstIndex(where: isLimit))
      #expect(own[limit].hasSuffix("= 0"))
      #expect(own.contains { $0.contains("PR_SET_NO_NEW_PRIVS, 1") && $0.hasSuffix("= 0") })
      #expect(own.contains { $0.contains("SECCOMP_MODE_FILTER") && $0.hasSuffix("= 0") })
      #expect(own[..<limit].contains { $0.contains("open") && !$0.contains("= -1") })
      let later = own[(limit + 1)...].filter { $0.contains("open") || $0.contains("creat(") }
      #expect(later.allSatisfy { $0.contains("= -1") }, "\(later)")
      // Nobody, confined or not, has opened the file that was named in it.
      #expect(!lines.contains { $0.contains(folder + "/secret") && !$0.contains("= -1") })
    }
  }
}
