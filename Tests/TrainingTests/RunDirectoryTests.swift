import Core
import Foundation
import Logging
import Testing
import Training

/// Runs `body` with a folder of its own that is gone afterwards.
func withTemporaryFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
  let path = FileManager.default.temporaryDirectory
    .appending(path: "lockstep-\(UUID().uuidString)").path
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  defer { try? FileManager.default.removeItem(atPath: path) }
  return try body(path)
}

private func lines(_ path: String) throws -> [String] {
  try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n").map(String.init)
}

@Suite struct RunDirectoryTests {
  @Test func aLaunchNumberThatCannotBeReadIsNotMissing() throws {
    try withTemporaryFolder { folder in
      #expect(try RunDirectory.lastIncarnation(of: RunPaths(root: folder)) == 0)
      // Permissions do not stop root; a file in the place of the folder does.
      try FileSystem.writeAtomically([1], to: folder + "/run")
      #expect(throws: Failure.self) {
        try RunDirectory.lastIncarnation(of: RunPaths(root: folder + "/run"))
      }
    }
  }

  @Test func aLaunchNumberThatNoRunReachesIsDamage() throws {
    try withTemporaryFolder { folder in
      let path = RunPaths(root: folder).incarnation
      try FileSystem.writeAtomically(Array("9223372036854775807\n".utf8), to: path)
      let failure = #expect(throws: Failure.self) { try RunDirectory(root: folder) }
      #expect(failure?.exitCode == .badData)
    }
  }

  /// The next one could save nothing that is read again.
  @Test func afterTheLastLaunchThereIsNone() throws {
    try withTemporaryFolder { folder in
      let path = RunPaths(root: folder).incarnation
      for (last, expected) in [(999_999_999, nil), (1_000_000_000, ExitCode.badData)] {
        try FileSystem.writeAtomically(Array("\(last)\n".utf8), to: path)
        var found: ExitCode?
        do throws(Failure) { _ = try RunDirectory(root: folder) } catch { found = error.exitCode }
        #expect(found == expected)
        #expect(try lines(path) == ["1000000000"])
      }
    }
  }

  @Test func aRunStandsWhereItsCheckpointsStand() throws {
    try withTemporaryFolder { folder in
      let run = try RunDirectory(root: folder + "/run")
      try run.requireInPlace()
      let checkpoints = run.paths.checkpoints
      try FileSystem.rename(checkpoints, to: checkpoints + "-moved")
      for plant in [
        { _ = symlink("checkpoints-moved", checkpoints) },
        { try FileSystem.createFolder(checkpoints) },
      ] as [() throws -> Void] {
        try plant()
        let failure = #expect(throws: Failure.self) { try run.requireInPlace() }
        #expect(failure?.exitCode == .inputOutput)
        try FileSystem.remove(checkpoints)
      }
      try FileSystem.rename(checkpoints + "-moved", to: checkpoints)
      try run.requireInPlace()
    }
  }

  @Test func everyLaunchIsAHigherIncarnation() throws {
    try withTemporaryFolder { folder in
      for expected in 1...3 {
        let run = try RunDirectory(root: folder + "/runs/a")
        #expect(run.incarnation == expected)
        run.events.append(.start, [])
      }
      let events = try lines(folder + "/runs/a/events.jsonl")
      #expect(events.count == 3)
      for (index, event) in events.enumerated() {
        #expect(event.hasPrefix("{\"event\":\"start\",\"incarnation\":\(index + 1),\"time\":\"20"))
      }
    }
  }

  /// A killed process is without a command line before it lets go of its lock.
  @Test func aHolderThatIsDyingIsWaitedFor() throws {
    try withTemporaryFolder { folder in
      let path = try RunDirectory(root: folder).paths.lock
      let host = try #require(try lines(path).first?.split(separator: " ").last)
      try Data("2147483647 \(host)\n".utf8).write(to: URL(fileURLWithPath: path))
      let lock = open(path, O_RDWR)
      try #require(flock(lock, LOCK_EX | LOCK_NB) == 0)
      // Whether it lets go before or after the other asks, the other gets it.
      Thread.detachNewThread {
        usleep(100_000)
        close(lock)
      }
      #expect(try RunDirectory(root: folder).incarnation == 2)
    }
  }

  @Test func aSecondProcessIsRefusedWithPidAndHost() throws {
    try withTemporaryFolder { folder in
      let first = try RunDirectory(root: folder)
      // A lock belongs to an open file, so a second open stands for a second process.
      do throws(Failure) {
        _ = try RunDirectory(root: folder)
        Issue.record("two owners of one run directory")
      } catch {
        #expect(error.exitCode == .inputOutput)
        #expect(error.message.contains("pid \(getpid()) on host "))
      }
      #expect(first.incarnation == 1)
      #expect(try lines(first.paths.incarnation) == ["1"])
    }
    try withTemporaryFolder { folder in
      do { _ = try RunDirectory(root: folder) }
      #expect(try RunDirectory(root: folder).incarnation == 2)
    }
  }

  @Test func aPlaceThatCannotBeMadeIsRefused() throws {
    #expect(try failureCode("/proc/lockstep-run") == .cannotCreate)
    try withTemporaryFolder { folder in
      try Data("x".utf8).write(to: URL(fileURLWithPath: folder + "/file"))
      #expect(try failureCode(folder + "/file") == .cannotCreate)
      try Data("seven\n".utf8).write(to: URL(fileURLWithPath: folder + "/incarnation"))
      #expect(try failureCode(folder) == .badData)
    }
  }

  private func failureCode(_ root: String) throws -> ExitCode? {
    do throws(Failure) {
      _ = try RunDirectory(root: root)
      return nil
    } catch {
      return error.exitCode
    }
  }

  @Test func theSavedConfigurationIsTheOneThatRan() throws {
    try withTemporaryFolder { folder in
      let run = try RunDirectory(root: folder)
      let configuration = try RunConfiguration.decode(
        yaml: "data: {path: d}", name: "c.yaml", overrides: ["batch.lanes=2", "model.heads=1"])
      try run.save(configuration)
      #expect(try RunConfiguration.load(path: run.paths.configuration) == configuration)
      let names = try FileManager.default.contentsOfDirectory(atPath: folder)
      let expected = ["checkpoints", "config.yaml", "events.jsonl", "incarnation", "lock", "logs"]
      #expect(names.sorted() == expected)
    }
  }

  @Test func pathsHaveTheirWidths() {
    let paths = RunPaths(root: "runs/x")
    #expect(paths.checkpoint(step: 1200) == "runs/x/checkpoints/step-000001200")
    #expect(paths.log(rank: 3) == "runs/x/logs/rank-00003.log")
    #expect(paths.log(rank: 1_234_567) == "runs/x/logs/rank-1234567.log")
  }

  @Test func aLineThatACrashCutOffDoesNotSwallowTheNext() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/events.jsonl"
      try Data("{\"event\":\"st".utf8).write(to: URL(fileURLWithPath: path))
      let log = try EventLog(RunPaths(root: folder), incarnation: 2)
      log.append(.stop, [])
      log.append(.end, [])
      let found = try lines(path)
      #expect(found.count == 3)
      #expect(found[1].hasPrefix("{\"event\":\"stop\",\"incarnation\":2,"))
    }
  }

  /// A limit on the size of files stands for the disk, in a process of its own.
  @Test func aFullDiskIsCountedAndReportedOnce() async {
    await #expect(processExitsWith: .success) {
      signal(SIGXFSZ, SIG_IGN)
      try withTemporaryFolder { folder in
        let log = try EventLog(RunPaths(root: folder), incarnation: 1)
        var limit = rlimit(rlim_cur: 0, rlim_max: 0)
        try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
        for _ in 0..<3 { log.append(.start, []) }
        #expect(log.lostLineCount == 3)
        let problem = try #require(log.takeProblem())
        let expected = "\(folder)/events.jsonl: an event could not be recorded (File too"
        #expect(problem.hasPrefix(expected), "\(problem)")
        #expect(log.takeProblem() == nil)
      }
    }
  }

  @Test func eventsOfManyThreadsStayWholeLines() throws {
    try withTemporaryFolder { folder in
      let path = folder + "/events.jsonl"
      let log = try EventLog(RunPaths(root: folder), incarnation: 1)
      DispatchQueue.concurrentPerform(iterations: 200) { index in
        log.append(.fault, [.init("index", .integer(index))])
      }
      let indices = try lines(path).map { line -> Int in
        let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
        return object?["index"] as? Int ?? -1
      }
      #expect(indices.sorted() == Array(0..<200))
    }
  }

  @Test func aRankLogsLinesWithTimeRankStepAndMessage() throws {
    try withTemporaryFolder { folder in
      let paths = RunPaths(root: folder)
      try RunDirectory.create(paths)
      let path = paths.log(rank: 3)
      var logger = try RankLogHandler.logger(paths, rank: 3)
      logger[metadataKey: "step"] = "120"
      logger.warning("two\nlines", metadata: ["b": "2", "a": "1"])
      logger.debug("below the level")
      logger.info("\u{1b}[2J\u{7f}\u{202e}")
      let found = try lines(path)
      #expect(found.count == 2)
      #expect(found[1].hasSuffix(#" info: \u{1b}[2J\u{7f}\u{202e}"#))
      #expect(found[0].hasSuffix("Z rank 00003 step 120 warning: two\\nlines a=1 b=2"))
    }
  }
}

@Suite struct EventTextTests {
  @Test func numbersReadBackToTheSameBits() throws {
    var stream = SystemRandomNumberGenerator()
    for _ in 0..<2000 {
      let value = Double(bitPattern: stream.next())
      guard value.isFinite else { continue }
      #expect(Double(JSONValue.number(value).text)?.bitPattern == value.bitPattern)
    }
    #expect(JSONValue.number(0.1).text == "0.1")
    #expect(JSONValue.number(-0.0).text == "-0.0")
    #expect(JSONValue.number(.nan).text == "\"nan\"")
    #expect(JSONValue.number(-.infinity).text == "\"-inf\"")
  }

  @Test func textSurvivesAnotherReader() throws {
    let text = "a\"b\\c\nd\te\u{1}\u{7f}\u{9b}\u{202e}\u{e0001}ü\u{1F600}/"
    let json = JSONValue.object([
      .init("text", .string(text)), .init("list", .array([.null, .bool(true), .integer(-5)])),
    ]).text
    #expect(!json.unicodeScalars.contains { $0.canDriveTerminals })
    let object = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any]
    #expect(object?["text"] as? String == text)
    #expect((object?["list"] as? [Any])?.count == 3)
  }

  @Test func theDeterministicPartKnowsNothingOfTheMachine() {
    let one = StepRecord(
      step: 5, totalSteps: 9, epoch: 0.5, loss: 6.25, learningRate: 1e-4, gradientNorm: 2,
      tokens: 100, tokensPerSecond: 7, weightsDigest: "aa", secondsLeft: 3)
    var other = one
    other.tokensPerSecond = 8
    other.secondsLeft = nil
    other.totalSteps = 11
    #expect(one.deterministicFields == other.deterministicFields)
    #expect(
      JSONValue.object(one.deterministicFields).text
        == #"{"step":5,"epoch":0.5,"loss":6.25,"perplexity":518.012824668342,"#
        + #""learning_rate":0.0001,"gradient_norm":2.0,"tokens":100}"#)
    other.loss = 6.250000000000001
    #expect(one.deterministicFields != other.deterministicFields)
    #expect(Array(one.fields.prefix(7)) == one.deterministicFields)
  }
}
