import Core
import Foundation
import Testing

/// Whatever dies, the supervised run ends by itself with the weights it would have had.
@Suite(.serialized) struct SupervisedRunTests {
  private static let steps = 400
  private static let settings = ["checkpoint.every=20", "evaluation.every=100"]
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  private static let uninterrupted = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(settings, steps: steps, in: scratch).finish()
  }

  private func run(_ overrides: [String] = [], name: String = "run") throws -> TinyRun {
    try TinyRun(Self.settings + overrides, steps: Self.steps, name: name, in: scratch)
  }

  private func expectUninterrupted(_ run: TinyRun) throws {
    #expect(try run.result().differences(from: Self.uninterrupted.get()) == [])
    #expect(try run.result().stepCount == Self.steps)
  }

  // MARK: - Looking

  private func words(of process: Int32, _ file: String) -> [Substring] {
    let bytes = FileManager.default.contents(atPath: "/proc/\(process)/\(file)") ?? Data()
    return String(decoding: bytes, as: UTF8.self).split(separator: "\0")
  }

  /// The processes of the training itself, by rank.
  private func ranks(_ count: Int) throws -> [Int32] {
    try eventually("\(count) ranks") {
      let found = scratch.processes.compactMap { process -> (rank: Int, process: Int32)? in
        guard words(of: process, "cmdline").dropFirst().first == "train" else { return nil }
        let name = "OMPI_COMM_WORLD_RANK="
        let rank = words(of: process, "environ").first { $0.hasPrefix(name) }
        return rank.flatMap { Int($0.dropFirst(name.count)) }.map { ($0, process) }
      }
      guard found.count == count else { return nil }
      return found.sorted { $0.rank < $1.rank }.map(\.process)
    }
  }

  private func launcher() throws -> Int32 {
    try #require(
      scratch.processes.first { words(of: $0, "cmdline").first?.hasSuffix("/mpirun") == true })
  }

  /// By the job's word in the command line, as a person would find it.
  private func supervisor() throws -> Int32 {
    try #require(
      scratch.processes.first { words(of: $0, "cmdline").dropFirst().first == "launch" })
  }

  /// Its command line names nothing of the run.
  private func lifeline(of supervisor: Int32) throws -> Int32 {
    let children = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(supervisor)/task")
      .flatMap { words(of: supervisor, "task/\($0)/children") }
      .flatMap { $0.split(separator: " ") }.compactMap { Int32($0) }
    return try #require(
      children.first { words(of: $0, "cmdline").dropFirst().first == "lifeline" })
  }

  /// Names of the folders the jobs of this test have now, the same below `TMPDIR` and /dev/shm.
  private func temporaryFolders() throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/tmp")
      .filter { $0.hasPrefix("lockstep-") }
  }

  private func expectNothingIsLeft(
    of folders: [String] = [], within seconds: Double = 5
  ) throws {
    try eventually(within: seconds, "all processes gone") {
      scratch.processes.isEmpty ? true : nil
    }
    // A lifeline, whose command line names nothing of the run, may be at it still.
    try eventually(within: seconds, "all temporary folders gone") {
      let isLeft = folders.contains { FileManager.default.fileExists(atPath: "/dev/shm/\($0)") }
      return try isLeft || !temporaryFolders().isEmpty ? nil : true
    }
  }

  // MARK: - Faults

  @Test func undisturbedItIsTheSameRun() throws {
    let run = try run()
    let outcome = try run.train(.supervised(3))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    // On a machine of few cores it is told that ranks share them, and nothing else.
    #expect(outcome.errorLines.filter { !$0.hasSuffix("they share cores") } == [])
    #expect(!outcome.output.contains("\u{1e}"))
    #expect(run.supervisorLines("death") == [])
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  @Test func aKilledRankIsReplaced() throws {
    let run = try run()
    let job = try run.start(.supervised(3))
    try run.waitForStep(50, of: job)
    kill(try ranks(3)[1], SIGKILL)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let death = run.supervisorLines("death").first
    #expect(death?.contains("SIGKILL") == true && death?.contains("\"rank\":1,") == true)
    #expect(try TinyRun.number("detect_seconds", in: death) <= 2)
    #expect(try TinyRun.number("seconds", in: run.supervisorLines("recovered").first) <= 30)
    #expect(outcome.error.contains("launch  cause"))
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  /// Whether or not it spoke for the others at that moment.
  @Test(arguments: [0, 2]) func aFrozenRankIsReplaced(rank: Int) throws {
    let run = try run()
    let job = try run.start(.supervised(3))
    try run.waitForStep(50, of: job)
    kill(try ranks(3)[rank], SIGSTOP)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let death = try #require(run.supervisorLines("death").first)
    #expect(death.contains("no sign of life") && death.contains("\"rank\":\(rank),"), "\(death)")
    #expect(try TinyRun.number("detect_seconds", in: death) <= 8)
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  /// Its signs of life go on: only the steps that do not come tell.
  @Test func aRankThatIsBusyForEverIsReplaced() throws {
    let run = try run()
    let outcome = try run.train(.supervised(2), faults: "forward:50:1:spin@1")
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.error.contains("fault point forward, step 50: spin"))
    #expect(run.supervisorLines("death").count == 1)
    let death = run.supervisorLines("death").first
    #expect(death?.contains("no step finished in time") == true, "\(death ?? "")")
    // The floor of the limit, which only a machine as slow as that can raise.
    #expect((10...60).contains(try TinyRun.number("detect_seconds", in: death)))
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  @Test func aKilledLauncherIsReplaced() throws {
    let run = try run()
    let job = try run.start(.supervised(2), faults: "forward:399:0:stop@2")
    try run.waitForStep(50, of: job)
    let folders = try temporaryFolders()
    #expect(folders.count == 1)
    kill(try launcher(), SIGKILL)
    // What the one that was killed had is gone before the end.
    let stopped = try scratch.stoppedRank()
    let sessions = try files(of: [scratch.path + "/tmp/" + (folders.first ?? "")])
      .filter { $0.wholeMatch(of: /.*\/pid\.[0-9]+/) != nil }
    #expect(sessions.count == 1, "\(sessions)")
    kill(stopped, SIGCONT)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(run.supervisorLines("death").first?.contains("launcher was killed by SIGKILL") == true)
    try expectUninterrupted(run)
    try expectNothingIsLeft(of: folders)
  }

  @Test func withTheSupervisorAllIsGoneAndTheNextGoesOn() throws {
    let run = try run()
    let job = try run.start(.supervised(3))
    try run.waitForStep(50, of: job)
    job.send(SIGKILL)
    #expect(try job.outcome().exitCode == 128 + SIGKILL)
    try expectNothingIsLeft()
    let outcome = try run.train(.supervised(2))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    try expectUninterrupted(run)
  }

  @Test func theNextSupervisorNeedNotWait() throws {
    let run = try run()
    let job = try run.start(.supervised(2))
    try run.waitForStep(50, of: job)
    job.send(SIGKILL)
    _ = try job.outcome()
    let outcome = try run.train(.supervised(3))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    try expectUninterrupted(run)
  }

  @Test func whatNobodyCouldClearUpTheNextSupervisorDoes() throws {
    let run = try run()
    let job = try run.start(.supervised(2), faults: "forward:399:0:stop@1")
    try run.waitForStep(50, of: job)
    let (folders, supervisor) = (try temporaryFolders(), try supervisor())
    // One that runs would have another lifeline at once.
    kill(supervisor, SIGSTOP)
    kill(try lifeline(of: supervisor), SIGKILL)
    kill(supervisor, SIGKILL)
    _ = try job.outcome()
    #expect(try !folders.isEmpty && temporaryFolders() == folders)
    let outcome = try run.train(.supervised(3))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    try expectUninterrupted(run)
    try expectNothingIsLeft(of: folders)
  }

  @Test func whatCannotBeginLeavesNothing() throws {
    let run = try run()
    try FileManager.default.createDirectory(atPath: run.path, withIntermediateDirectories: true)
    try "no number".write(toFile: run.path + "/incarnation", atomically: true, encoding: .utf8)
    try run.train(.supervised(2)).expectRefusal(.badData, naming: ["incarnation"])
    #expect(!FileManager.default.fileExists(atPath: run.path + "/supervisor.lease"))
    try expectNothingIsLeft()
  }

  @Test(arguments: [SIGTERM, SIGINT, SIGUSR1])
  func askedToStopItEndsResumable(signal: Int32) throws {
    let run = try run(["checkpoint.every=1000"])
    let job = try run.start(.supervised(2), faults: "forward:30:0:stop")
    let rank = try scratch.stoppedRank()
    job.send(signal)
    // As `timeout` does: to the process, then to its group.
    job.send(SIGTERM)
    try eventually(within: 4, "mpirun passes it on") {
      Scratch.hasPendingSignal(rank) ? true : nil
    }
    kill(rank, SIGCONT)
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    #expect(run.savedSteps.count == 1)
    #expect(try run.train(.supervised(2)).exitCode == 0)
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  @Test func askedTwiceItEndsAtOnce() throws {
    let run = try run()
    let job = try run.start(.supervised(2))
    try run.waitForStep(30, of: job)
    // A rank that cannot finish its step.
    kill(try ranks(2)[0], SIGSTOP)
    // The first two are one request; what comes a second later is the next.
    try eventually(within: 30, "the job ends") {
      job.send(SIGTERM)
      job.send(SIGUSR1)
      usleep(100_000)
      return job.isRunning ? nil : true
    }
    let outcome = try job.outcome()
    #expect(outcome.exitCode == ExitCode.stoppedResumable.rawValue, "\(outcome.error)")
    #expect(run.supervisorLines("death").first?.contains("stopped at once") == true)
    try expectNothingIsLeft()
    #expect(try run.train(.supervised(2)).exitCode == 0)
    try expectUninterrupted(run)
  }

  @Test func dyingAgainAndAgainItGivesUp() throws {
    let run = try run(["checkpoint.every=1000"])
    // At another step each time: three deaths at one the supervisor calls a program error, as it
    // also may when it has not heard of a step yet.
    let faults = (1...6).map { "forward:\(20 + 10 * $0):1:kill@\($0)" }.joined(separator: ",")
    let job = try run.start(.supervised(2), faults: faults)
    let outcome = try job.outcome(deadlineSeconds: 300)
    #expect(outcome.exitCode == ExitCode.internal.rawValue, "\(outcome.error)")
    #expect(outcome.error.contains("given up"))
    #expect((3...6).contains(run.supervisorLines("death").count))
    #expect(run.supervisorLines("verdict").count == 1)
    try expectNothingIsLeft()
  }

  /// A stopped terminal, a full log: only the last words wait for whoever reads.
  @Test func aReaderThatHasStoppedStopsNothing() throws {
    let run = try run()
    let pipe = scratch.path + "/words"
    #expect(mkfifo(pipe, 0o600) == 0)
    let descriptor = open(pipe, O_RDWR | O_NONBLOCK | O_CLOEXEC)
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: UInt8(ascii: "-"), count: 4096)
    while write(descriptor, bytes, bytes.count) > 0 {}
    let job = try Job(
      ["bash", "-c", "exec \"$@\" 2> $0", pipe] + run.command(.supervised(2)),
      environment: ["LOCKSTEP_FAULT": "forward:50:1:kill@1"], in: scratch)
    try eventually("the run ends") { run.supervisorLines("verdict").first }
    var words: [UInt8] = []
    try eventually("the program ends, all it said is read") {
      let isEnded = !job.isRunning
      let count = read(descriptor, &bytes, bytes.count)
      words += bytes.prefix(max(0, count))
      return isEnded && count <= 0 ? true : nil
    }
    #expect(try job.outcome().exitCode == 0)
    let said = String(decoding: words.drop { $0 == UInt8(ascii: "-") }, as: UTF8.self)
    #expect(said.contains("lockstep: launch 1 ended: rank 1"), "\(said)")
    try expectUninterrupted(run)
    try expectNothingIsLeft()
  }

  @Test func aSecondSupervisorIsRefused() throws {
    let run = try run()
    // It cannot end meanwhile; should it seem frozen, it is started again and goes on.
    let job = try run.start(.supervised(2), faults: "forward:20:0:stop@1")
    let stopped = try scratch.stoppedRank()
    try run.train(.supervised(2)).expectRefusal(.inputOutput, naming: ["run", "pid", "host"])
    kill(stopped, SIGCONT)
    #expect(try job.outcome().exitCode == 0)
    try expectUninterrupted(run)
  }

  // MARK: - What others could learn or reach

  @Test func secretsOfTheEnvironmentReachNeitherRanksNorFiles() throws {
    let run = try TinyRun(steps: 10, in: scratch)
    let names = [
      "AWS_SECRET_ACCESS_KEY", "MY_TOKEN", "DATABASE_URL", "OMPI_MCA_my_password", "SLURM_API_KEY",
    ]
    let planted = "planted-\(UUID().uuidString)"
    let job = try run.start(
      .supervised(2), faults: "load:3:0:stop",
      environment: Dictionary(uniqueKeysWithValues: names.map { ($0, planted) }))
    let stopped = try scratch.stoppedRank()
    for process in try ranks(2) + [launcher()] {
      #expect(!words(of: process, "environ").isEmpty)
      #expect(words(of: process, "environ").filter { $0.contains(planted) } == [])
    }
    // With what mpirun has in its temporary folders while it runs.
    #expect(try files(of: [run.path, scratch.path + "/tmp"], naming: planted) == [])
    kill(stopped, SIGCONT)
    #expect(try job.outcome().exitCode == 0)
    #expect(try files(of: [run.path], naming: planted) == [])
    // The search finds what is there: a checkpoint has the command line.
    let known = try files(of: [run.path], naming: run.path)
    #expect(known.contains { $0.hasSuffix("/step-000000010/checkpoint.h5") }, "\(known)")
  }

  private func files(of folders: [String]) throws -> [String] {
    try folders.flatMap { folder in
      try FileManager.default.subpathsOfDirectory(atPath: folder).map { "\(folder)/\($0)" }
    }
  }

  /// Files below folders that hold a text.
  private func files(of folders: [String], naming text: String) throws -> [String] {
    try files(of: folders).filter { path in
      FileManager.default.contents(atPath: path)?.range(of: Data(text.utf8)) != nil
    }
  }

  /// What listens in a job is mpirun's, and of ranks what OpenMPI opens.
  @Test func theSupervisorListensOnNothing() throws {
    let run = try run()
    let job = try run.start(.supervised(2))
    try run.waitForStep(5, of: job)
    let supervisor = try supervisor()
    for own in [supervisor, try lifeline(of: supervisor)] {
      #expect(try Sockets.listening(of: own) == [])
    }
    // The look finds what is there, OpenMPI's own, and nothing that needs no connection.
    for other in try ranks(2) + [launcher()] {
      let sockets = try Sockets.listening(of: other)
      #expect(!sockets.isEmpty && sockets.allSatisfy { $0.hasPrefix("tcp") }, "\(sockets)")
    }
    job.send(SIGKILL)
    _ = try job.outcome()
  }

  @Test func whatNoRestartHealsIsSaidOnce() throws {
    let run = try run(["batch.lanes=1"])
    let outcome = try run.train(.supervised(2))
    #expect(outcome.exitCode == ExitCode.configuration.rawValue, "\(outcome.error)")
    #expect(run.supervisorLines("launch").count == 1)
    try expectNothingIsLeft()
  }
}
