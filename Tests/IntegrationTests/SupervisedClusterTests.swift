import Core
import Foundation
import Testing

/// A supervised run across hosts ends by itself with the bytes of one rank, whatever becomes of the
/// other hosts.
@Suite(
  .serialized,
  .enabled(if: Hosts.isPermitted, "SKIPPED: network namespaces are not permitted here"))
struct SupervisedClusterTests {
  private static let steps = 400
  /// Of a rank without a supervisor that gets nowhere.
  private static let deadManSeconds = 20.0
  /// A link may be away for so long without a death.
  private static let tolerableSeconds = 2.0
  private static let slowMegabits = 20.0
  private static let settings = ["checkpoint.every=20", "evaluation.every=100"]
  private let scratch: Scratch
  private let hosts: Hosts

  init() throws {
    scratch = try Scratch()
    hosts = Hosts("2,1", in: scratch)
  }

  private static let uninterrupted = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(settings, steps: steps, in: scratch).finish()
  }

  private func run() throws -> TinyRun {
    try TinyRun(Self.settings, steps: Self.steps, in: scratch)
  }

  private func start(
    _ run: TinyRun, minimumRanks: Int = 3, byName: Bool = false, faults: String = ""
  ) throws -> Job {
    try hosts.start(
      command(run, minimumRanks: minimumRanks, byName: byName),
      environment: ["LOCKSTEP_FAULT": faults])
  }

  private func command(
    _ run: TinyRun, minimumRanks: Int = 3, byName: Bool = false
  ) throws -> [String] {
    // In the place of `train`.
    let command = try run.command()
    return [command[0], "launch", "--host", hosts.list(byName: byName)]
      + ["--min-ranks", String(minimumRanks)] + command.dropFirst(2)
  }

  /// When the supervisor has ended, however, the hosts wait for `goOn`, and then it runs once more.
  private func startTwice(_ run: TinyRun, minimumRanks: Int = 3) throws -> Job {
    let twice = "\"$@\"; until [[ -e $0 ]]; do sleep 0.05; done; exec \"$@\""
    return try hosts.start(
      ["bash", "-c", twice, scratch.path + "/go-on"] + command(run, minimumRanks: minimumRanks))
  }

  private func goOn() throws { try scratch.file("go-on", "") }

  private func expectUninterrupted(_ run: TinyRun, _ job: Job) throws {
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(try run.result().differences(from: Self.uninterrupted.get()) == [])
    #expect(try run.result().stepCount == Self.steps)
    try eventually(within: 5, "all processes gone") { scratch.processes.isEmpty ? true : nil }
    let folders = try FileManager.default.contentsOfDirectory(atPath: scratch.path + "/tmp")
    #expect(folders.filter { $0.hasPrefix("lockstep-") || $0.hasPrefix("tmp.") } == [])
  }

  // MARK: - Looking

  /// The hosts of each launch, as its line has them.
  private func launches(of run: TinyRun) -> [[Int]] {
    run.supervisorLines("launch").map { line in
      [0, 1].filter { line.contains("\"\(Hosts.address(of: $0)):") }
    }
  }

  /// Says how long the first fault took, and expects it to be within limits.
  private func expectTimes(
    of run: TinyRun, detection: Double, recovery: Double, _ test: String = #function
  ) throws {
    let seconds = try TinyRun.number("detect_seconds", in: run.supervisorLines("death").first)
    let recovered = try TinyRun.number("seconds", in: run.supervisorLines("recovered").first)
    report("detected in \(seconds) s, recovered in \(recovered) s", test)
    #expect(seconds <= detection)
    #expect(recovered <= recovery)
  }

  private func report(_ text: String, _ test: String = #function) {
    FileHandle.standardError.write(Data("\(test): \(text)\n".utf8))
  }

  private func wait(for what: String, of run: TinyRun, _ job: Job) throws {
    try eventually("\(what) of \(run.path)") {
      guard run.supervisorLines(what).isEmpty else { return true }
      try #require(job.isRunning, "the run ended before '\(what)': \(job.errorSoFar)")
      return nil
    }
  }

  /// Waits for a step of a launch.
  private func wait(forLaunch number: Int, of run: TinyRun, _ job: Job) throws {
    try eventually("launch \(number)") {
      if run.hasStep(ofLaunch: number) { return true }
      try #require(job.isRunning, "the run ended before launch \(number): \(job.errorSoFar)")
      return nil
    }
  }

  private func rank(on host: Int) throws -> Int32 {
    try eventually("a rank on host\(host)") {
      try hosts.processes(on: host).first {
        Scratch.commandLine(of: $0).split(separator: "\0").dropFirst().first == "train"
      }
    }
  }

  private func daemon(on host: Int) throws -> Int32 {
    try #require(
      try hosts.processes(on: host).first {
        let words = Scratch.commandLine(of: $0).split(separator: "\0")
        return ["orted", "prted"].contains(words.first?.split(separator: "/").last)
      })
  }

  // MARK: - Faults

  @Test(arguments: [false, true]) func hostsChangeNoBit(byName: Bool) throws {
    let run = try run()
    let job = try start(run, byName: byName)
    try run.waitForStep(5, of: job)
    #expect(try [0, 1].map { try hosts.processes(on: $0).isEmpty } == [false, false])
    let outcome = try job.outcome()
    #expect(outcome.error == "")
    #expect(run.supervisorLines("death") == [])
    try expectUninterrupted(run, job)
  }

  @Test func aKilledRankOfAnotherHostIsReplaced() throws {
    let run = try run()
    let job = try start(run)
    try run.waitForStep(50, of: job)
    kill(try rank(on: 1), SIGKILL)
    try expectUninterrupted(run, job)
    let death = run.supervisorLines("death").first
    #expect(death?.contains("SIGKILL") == true && death?.contains("\"rank\":2,") == true)
    #expect(death?.contains("\"host\":\"\(Hosts.address(of: 1))\"") == true)
    #expect(launches(of: run) == [[0, 1], [0, 1]])
    try expectTimes(of: run, detection: 2, recovery: 30)
  }

  /// As when a machine starts anew: it is there again for the next launch.
  @Test func aHostThatLosesEverythingIsUsedAgain() throws {
    let run = try run()
    let job = try start(run)
    try run.waitForStep(50, of: job)
    for process in try hosts.processes(on: 1) { kill(process, SIGKILL) }
    try expectUninterrupted(run, job)
    let death = run.supervisorLines("death").first
    #expect(death?.contains("lost a host") == true, "\(death ?? "")")
    #expect(death?.contains("\"host\":\"\(Hosts.address(of: 1))\"") == true)
    #expect(launches(of: run) == [[0, 1], [0, 1]])
    try expectTimes(of: run, detection: 2, recovery: 30)
  }

  /// mpirun cannot end what its daemon does not: the supervisor asks the host itself.
  @Test func aFrozenDaemonIsEndedFromAfar() throws {
    let run = try run()
    // Its ranks go on, and might be at the end before they are missed.
    let job = try start(run, faults: "forward:399:0:stop@1")
    try run.waitForStep(50, of: job)
    let stale = [try rank(on: 1), try daemon(on: 1)]
    kill(stale[1], SIGSTOP)
    try wait(for: "restart", of: run, job)
    #expect(stale.map(Scratch.commandLine) == ["", ""])
    try expectUninterrupted(run, job)
    let death = run.supervisorLines("death").first
    #expect(death?.contains("no sign of life") == true && death?.contains("\"rank\":2,") == true)
    #expect(launches(of: run) == [[0, 1], [0, 1]])
    try expectTimes(of: run, detection: 8, recovery: 12)
  }

  /// What is left of the run there ends itself, though nobody can tell it to.
  @Test func aHostThatIsCutOffIsLeftOut() throws {
    let run = try run()
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    try hosts.cutLink(of: 1)
    try wait(for: "left_out", of: run, job)
    try eventually(within: 25, "what was cut off ends") {
      try hosts.processes(on: 1).isEmpty ? true : nil
    }
    #expect(job.isRunning, "the hosts were gone before what ran on them")
    try expectUninterrupted(run, job)
    #expect(launches(of: run) == [[0, 1], [0]])
    try expectTimes(of: run, detection: 8, recovery: 12)
  }

  /// Whoever waits for an answer from the other side hears no more of it than over a cut link.
  @Test(arguments: Hosts.Direction.allCases)
  func aLinkThatLosesOneDirectionIsALostHost(direction: Hosts.Direction) throws {
    let run = try run()
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    try hosts.lose(direction, of: 1)
    try wait(for: "left_out", of: run, job)
    try eventually(within: Self.deadManSeconds + 5, "what was cut off ends") {
      try hosts.processes(on: 1).isEmpty ? true : nil
    }
    #expect(job.isRunning, "the hosts were gone before what ran on them")
    try expectUninterrupted(run, job)
    #expect(launches(of: run) == [[0, 1], [0]])
    try expectTimes(of: run, detection: 8, recovery: 30, "\(#function) \(direction)")
  }

  /// Signs of life come late, but within all limits.
  @Test func aLinkThatIsAwayForAMomentChangesNothing() throws {
    let run = try run()
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    try hosts.cutLink(of: 1)
    let before = try run.lastStep
    // The fault itself, not waiting for something.
    Thread.sleep(forTimeInterval: Self.tolerableSeconds)
    let after = try run.lastStep
    try hosts.mendLink(of: 1)
    #expect(after < Self.steps && after <= before + 2, "the link was not away")
    try expectUninterrupted(run, job)
    #expect(run.supervisorLines("death") == [])
    #expect(launches(of: run) == [[0, 1]])
  }

  /// How long a step takes is the link's to say: all limits allow for it.
  @Test func aSlowLinkOnlyTakesTime() throws {
    let slow = Hosts("2,1", rate: "\(Self.slowMegabits)mbit", in: scratch)
    let steps = 40
    let run = try TinyRun(Self.settings, steps: steps, in: scratch)
    let watch = Stopwatch()
    let job = try slow.start(command(run))
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    // The gradient passes the link once a step, but for what the link lets through at once.
    let megabits = Double(steps * (try run.parameterCount) * 32) * 1e-6 - 5
    #expect(watch.seconds > megabits / Self.slowMegabits, "the link was not slow")
    #expect(run.supervisorLines("death") == [])
    let alone = try TinyRun(Self.settings, steps: steps, name: "alone", in: scratch).finish()
    #expect(try run.result().differences(from: alone) == [])
  }

  @Test func aHostThatComesBackIsTakenBack() throws {
    let run = try run()
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(20, of: job)
    try hosts.cutLink(of: 1)
    try wait(forLaunch: 2, of: run, job)
    try hosts.mendLink(of: 1)
    kill(try rank(on: 0), SIGKILL)
    try expectUninterrupted(run, job)
    #expect(launches(of: run) == [[0, 1], [0], [0, 1]])
  }

  @Test func withTheSupervisorItsRanksOnAllHostsAreGone() throws {
    let run = try run()
    let job = try startTwice(run)
    try run.waitForStep(50, of: job)
    let supervisor = try #require(
      scratch.processes.first {
        let words = Scratch.commandLine(of: $0).split(separator: "\0")
        return words.first?.hasSuffix("/lockstep") == true && words.dropFirst().first == "launch"
      })
    kill(supervisor, SIGKILL)
    try eventually(within: 5, "the other host is free") {
      try hosts.processes(on: 1).isEmpty ? true : nil
    }
    try goOn()
    try expectUninterrupted(run, job)
    #expect(launches(of: run) == [[0, 1], [0, 1]])
  }

  /// Neither daemon, link nor run directory tells it anything: its own timer ends it.
  @Test func aRankThatHearsNothingEndsItself() throws {
    let run = try run()
    let job = try startTwice(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    let stale = try rank(on: 1)
    kill(try daemon(on: 1), SIGSTOP)
    try hosts.hide(run.path, from: stale)
    try hosts.cutLink(of: 1)
    let watch = Stopwatch()
    try eventually(within: Self.deadManSeconds + 5, "the stale rank ends") {
      Scratch.commandLine(of: stale).isEmpty ? true : nil
    }
    #expect(watch.seconds > Self.deadManSeconds - 5)
    report("the rank ended itself after \(watch.seconds) s")
    try goOn()
    try expectUninterrupted(run, job)
    #expect(launches(of: run).dropFirst() == [[0], [0]])
  }

  /// Neither its daemon nor its link ends the rank: the launch number does.
  @Test func aRankOfAFrozenDaemonIsReplacedAndEndsItself() throws {
    let run = try run()
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    let stale = try rank(on: 1)
    let daemon = try daemon(on: 1)
    kill(daemon, SIGSTOP)
    try hosts.cutLink(of: 1)
    try wait(forLaunch: 2, of: run, job)
    try eventually(within: 5, "the stale rank ends") {
      Scratch.commandLine(of: stale).isEmpty ? true : nil
    }
    #expect(job.isRunning, "the hosts were gone before what ran on them")
    try expectUninterrupted(run, job)
    #expect(launches(of: run) == [[0, 1], [0]])
    try expectTimes(of: run, detection: 8, recovery: 12)
  }
}
