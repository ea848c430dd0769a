import Checkpoints
import Core
import Foundation
import Testing

/// One save, traced: each of its system calls fails once, or the process is killed at it.
@Suite(.serialized) struct SystemCallTests {
  /// The how manieth call of its name on its thread; strace counts that way.
  struct Place: Hashable, CustomStringConvertible {
    let call: String
    let number: Int

    var description: String { "\(call) number \(number)" }
  }

  /// What changes a disk, and what the writer reads back.
  private static let calls = [
    "openat", "mkdir", "fallocate", "ftruncate", "pwrite64", "pread64", "fsync", "renameat2",
    "renameat", "rename", "unlink", "unlinkat", "rmdir",
  ]

  private static let canTrace: Bool = {
    var can = false
    try? withTemporaryFolder { folder in
      can = (try? run(["strace", "-o", folder + "/log", "true"]).status) == 0
    }
    return can
  }()

  private static let probe: String? = {
    let argument = CommandLine.arguments.first { $0.hasSuffix(".xctest") }
    let folders = [argument, CommandLine.arguments.first].compactMap { $0 }
    return folders.map { FileSystem.parent(of: $0) + "/CheckpointProbe" }
      .first { FileSystem.exists($0) }
  }()

  private static func run(_ command: [String]) throws -> (status: Int32, error: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    let pipe = Pipe()
    process.standardError = pipe
    try process.run()
    let error = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    let status = process.terminationStatus
    return (process.terminationReason == .exit ? status : 128 + status, error)
  }

  private static func tracer(_ log: String, _ options: [String]) -> [String] {
    ["strace", "-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-o", log] + options
  }

  /// A call of the trace of one run of the probe.
  private struct Line {
    let place: Place
    let text: String
  }

  private static func lines(of log: String) throws -> [Line] {
    var counts: [Substring: [String: Int]] = [:]
    return try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").compactMap {
      line in
      let thread = line.prefix { $0 != " " }
      let rest = line.dropFirst(thread.count).drop { $0 == " " }
      guard let call = calls.first(where: { rest.hasPrefix($0 + "(") }) else { return nil }
      counts[thread, default: [:]][call, default: 0] += 1
      return Line(
        place: Place(call: call, number: counts[thread]?[call] ?? 0), text: String(rest))
    }
  }

  /// The element every part of a step's checkpoint must consist of.
  private static func isWhole(_ checkpoint: Checkpoint) throws -> Bool {
    try StateVector.allCases.enumerated().allSatisfy { index, vector in
      try checkpoint.values(of: vector).allSatisfy {
        $0 == Float(checkpoint.header.step * 10 + index) + 1 / 3
      }
    }
  }

  @Test(.enabled(if: canTrace && probe != nil, "SKIPPED: needs strace and the right to trace"))
  func atEverySystemCallAReaderFindsTheOldOrTheNewCheckpoint() throws {
    let probe = try #require(Self.probe)
    try withTemporaryFolder { folder in
      let saved = folder + "/saved"
      #expect(try Self.run([probe, saved, "1", "2"]).status == 0)
      let log = folder + "/log"
      let whole = folder + "/whole"
      try FileManager.default.copyItem(atPath: saved, toPath: whole)
      let trace = Self.tracer(log, ["-e", "trace=" + Self.calls.joined(separator: ",")])
      #expect(try Self.run(trace + [probe, whole, "3"]).status == 0)
      let lines = try Self.lines(of: log).filter {
        $0.text.contains(whole) || $0.text.contains("lockstep-skeleton")
      }
      var places: [Place: String] = [:]
      for line in lines { places[line.place] = line.text }
      #expect(places.count > 40, "\(places.count)")
      try Self.expectDurable(lines.map(\.text), folder: whole)
      var injected = 0
      var (cut, noticed) = (0, 0)
      for (place, text) in places {
        for fault in Self.faults(place.call) {
          injected += 1
          let status = try Self.expectUnharmed(
            place, fault, text, probe: probe, saved: saved, log: log)
          let isData = fault == Self.shortWrite && text.contains("/checkpoint.h5>")
          cut += isData ? 1 : 0
          noticed += isData && status != 0 ? 1 : 0
        }
      }
      #expect(injected > 100, "\(injected)")
      // Each part of each tensor has a first byte that is not the zero the disk has there.
      // Calls of one number on two threads are one place.
      #expect(noticed == cut && cut > 10, "\(noticed) of \(cut)")
    }
  }

  /// What is tried again.
  private static let interruption = "error=EINTR"
  /// Says that one byte was written, and writes none.
  private static let shortWrite = "retval=1"

  private static func faults(_ call: String) -> [String] {
    switch call {
    case "fsync": ["signal=KILL", "error=EIO"]
    case "pwrite64": ["signal=KILL", "error=EDQUOT", interruption, shortWrite]
    case "pread64": ["error=EIO", interruption]
    case "fallocate": ["signal=KILL", "error=ENOSPC", "error=EDQUOT", interruption]
    case "mkdir": ["signal=KILL", "error=ENOSPC", "error=EDQUOT"]
    case "ftruncate", "openat": ["signal=KILL", "error=ENOSPC"]
    case "renameat2", "renameat", "rename": ["signal=KILL", "error=EIO"]
    default: ["signal=KILL", "error=EROFS"]
    }
  }

  private static func expectUnharmed(
    _ place: Place, _ fault: String, _ text: String, probe: String, saved: String, log: String
  ) throws -> Int32 {
    let copy = saved + "-copy"
    try FileManager.default.copyItem(atPath: saved, toPath: copy)
    defer { try? FileManager.default.removeItem(atPath: copy) }
    let options = [
      "-e", "trace=" + place.call, "-e", "inject=\(place.call):\(fault):when=\(place.number)",
    ]
    let result = try run(tracer(log, options) + [probe, copy, "3"])
    // The dynamic loader has met the fault before the program began.
    guard result.status != 127 else { return result.status }
    let remark: Comment = "\(place), \(fault): \(text): exit \(result.status) \(result.error)"
    if fault == "signal=KILL" {
      // A call of the same number on another thread may be met first.
      #expect(result.status == 128 + SIGKILL, remark)
    } else {
      let codes: [ExitCode] = [
        .success, .inputOutput, .cannotCreate, .badData, .internal, .missingInput,
      ]
      #expect(codes.map(\.rawValue).contains(result.status), remark)
      #expect(fault != interruption || result.status == 0, remark)
      if result.status != 0 {
        #expect(result.error.hasPrefix("step 3: "), remark)
        #expect(result.error.split(separator: "\n").count == 1, remark)
      }
    }
    let store = CheckpointStore(folder: copy)
    var reports: [String] = []
    let newest = try #require(try store.newestVerified { reports.append($0) })
    // A fault while the old ones are removed leaves the new one; nothing newer is ever damaged.
    #expect([2, 3].contains(newest.header.step), remark)
    #expect(result.status != 0 || newest.header.step == 3, remark)
    #expect(reports == [], remark)
    #expect(try isWhole(newest), remark)
    #expect(try store.steps.count >= 2, remark)
    // And the next save works and cleans up; after a kill more than after an error, which has.
    guard fault == "signal=KILL" else { return result.status }
    #expect(try run([probe, copy, "4"]).status == 0, remark)
    #expect(try store.newestVerified { _ in }?.header.step == 4, remark)
    #expect(try FileSystem.names(in: copy).allSatisfy { !$0.hasPrefix(".") }, remark)
    return result.status
  }

  /// What a machine that loses its power may keep is what was synced: the order of the calls must
  /// promise enough.
  private static func expectDurable(_ lines: [String], folder: String) throws {
    func last(_ call: String, _ part: String) -> Int? {
      lines.lastIndex { $0.hasPrefix(call + "(") && $0.contains(part) }
    }
    func first(_ call: String, _ part: String, after index: Int) -> Int? {
      lines.indices.first {
        $0 > index && lines[$0].hasPrefix(call + "(") && lines[$0].contains(part)
      }
    }
    let publication = try #require(
      lines.firstIndex {
        ($0.hasPrefix("renameat2(") || $0.hasPrefix("rename("))
          && $0.contains("\(folder)/step-000000003\"")
      })
    // Data: synced after its last byte, and read back after that.
    let data = try #require(last("pwrite64", "/checkpoint.h5>"))
    let dataSync = try #require(first("fsync", "/checkpoint.h5>", after: data))
    #expect(try #require(first("pread64", "/checkpoint.h5>", after: dataSync)) < publication)
    // Manifest: after the data, synced before it has its name, its folder synced after.
    let manifest = try #require(last("pwrite64", "/manifest.json.tmp"))
    let manifestSync = try #require(first("fsync", "/manifest.json.tmp", after: manifest))
    let manifestName = try #require(first("renameat", "\"manifest.json\"", after: manifestSync))
    let names = try #require(first("fsync", "-launch-1>", after: manifestName))
    #expect(dataSync < manifest)
    #expect(names < publication)
    // The folder's new name is durable before anything old is removed.
    let published = try #require(first("fsync", folder + ">", after: publication))
    let removal = try #require(first("unlink", "step-000000001/manifest.json", after: publication))
    let removalSync = try #require(first("fsync", "step-000000001>", after: removal))
    #expect(published < removal)
    #expect(
      removalSync
        < (try #require(first("unlink", "step-000000001/checkpoint.h5", after: removal))))
  }
}
