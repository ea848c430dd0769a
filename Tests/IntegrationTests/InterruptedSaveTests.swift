import Checkpoints
import Foundation
import Testing

/// SIGKILL at system calls in the middle of a save, by strace.
@Suite(.serialized) struct InterruptedSaveTests {
  /// A system call of the writing thread: the how manieth of its name.
  private struct Place: CustomStringConvertible {
    let call: String
    let number: Int

    var description: String { "\(call) number \(number)" }
  }

  private static let calls = ["openat", "fallocate", "pwrite64", "fsync", "renameat2", "unlink"]

  @Test(.enabled(if: Program.canTrace, "SKIPPED: needs strace and the right to trace"))
  func aSaveThatIsCutOffAnywhereHarmsNothing() throws {
    let scratch = try Scratch()
    // The first save runs beside the training, the last one is waited for: that is cut off.
    let settings = ["checkpoint.every=10"]
    let whole = try TinyRun(settings, steps: 20, name: "whole", in: scratch)
    let (uninterrupted, places) = try Self.trace(whole, in: scratch)
    try #require(places.count >= 8, "\(places)")
    // Spread over the whole save, its first and last call among them.
    let count = 8
    for index in 0..<count {
      let place = places[index * (places.count - 1) / (count - 1)]
      let run = try TinyRun(settings, steps: 20, name: "cut-\(index)", in: scratch)
      let inject = [
        "/dev/null", "-e", "trace=\(place.call)", "-e",
        "inject=\(place.call):signal=KILL:when=\(place.number)",
      ]
      let killed = try Job(Self.tracer + inject + run.command(), in: scratch).outcome()
      #expect(killed.exitCode == 128 + SIGKILL, "\(place)")
      #expect([[10], [10, 20]].contains(run.savedSteps), "\(place): \(run.savedSteps)")
      var reports: [String] = []
      let newest = try Checkpoint.open(run.path) { reports.append($0) }
      #expect(newest.header.step == run.savedSteps.last)
      #expect(reports == [], "\(place)")
      #expect(try run.finish().differences(from: uninterrupted) == [], "\(place)")
      let names = try FileManager.default.contentsOfDirectory(atPath: run.path + "/checkpoints")
      #expect(names.allSatisfy { !$0.hasPrefix(".") }, "\(place): \(names)")
    }
  }

  /// There is no later save to make up for the last one.
  @Test(.enabled(if: Program.canTrace, "SKIPPED: needs strace and the right to trace"))
  func aLastSaveThatFailsIsTriedAgain() throws {
    let scratch = try Scratch()
    let whole = try TinyRun(["checkpoint.every=100"], steps: 20, name: "whole", in: scratch)
    let (undisturbed, places) = try Self.trace(whole, in: scratch)
    for (call, error) in [("fallocate", "ENOSPC"), ("pwrite64", "EIO")] {
      let place = try #require(places.first { $0.call == call }, "\(places)")
      for (count, exitCode) in [("\(place.number)", 0 as Int32), ("\(place.number)+", 74)] {
        let run = try TinyRun(
          ["checkpoint.every=100"], steps: 20, name: "\(call)-\(exitCode)", in: scratch)
        let inject = [
          "/dev/null", "-e", "trace=\(call)", "-e", "inject=\(call):error=\(error):when=\(count)",
        ]
        let outcome = try Job(Self.tracer + inject + run.command(), in: scratch).outcome()
        #expect(outcome.exitCode == exitCode, "\(place): \(outcome.error)")
        #expect(run.savedSteps == (exitCode == 0 ? [20] : []), "\(place)")
        if exitCode == 0 { #expect(try run.result().differences(from: undisturbed) == []) }
      }
    }
  }

  private static let tracer = [
    "strace", "-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-o",
  ]

  /// Runs it whole. Returns its result and the places of its last save.
  private static func trace(
    _ run: TinyRun, in scratch: Scratch
  ) throws -> (result: RunResult, places: [Place]) {
    let log = scratch.path + "/strace.log"
    let trace = tracer + [log, "-e", "trace=" + calls.joined(separator: ",")]
    let outcome = try Job(trace + run.command(), in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    let places = try places(ofSave: 20, in: String(contentsOfFile: log, encoding: .utf8))
    return (try run.result(), places)
  }

  /// The calls that touch what the save of a step writes, in their order.
  private static func places(ofSave step: Int, in log: String) -> [Place] {
    var counts: [Substring: [String: Int]] = [:]
    var places: [Place] = []
    // The first thread to come so far is the one that is killed.
    var taken = Set<String>()
    for line in log.split(separator: "\n") {
      // strace pads short process ids with spaces.
      let thread = line.prefix { $0 != " " }
      let rest = line.dropFirst(thread.count).drop { $0 == " " }
      guard let call = calls.first(where: { rest.hasPrefix($0 + "(") }) else { continue }
      counts[thread, default: [:]][call, default: 0] += 1
      let place = Place(call: call, number: counts[thread]?[call] ?? 0)
      let isFirst = taken.insert(place.description).inserted
      if isFirst, line.contains("/.tmp-step-"), line.contains("0\(step)-launch-") {
        places.append(place)
      }
    }
    return places
  }
}
