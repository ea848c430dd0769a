import Core
import Foundation
import Supervision
import Testing
import Training

/// How a run ended is what rank 0 has said of it, whatever the launcher returns.
@Suite struct HeardEndTests {
  private typealias Bench = SupervisorBench

  private func verdict(_ actions: [SupervisorAction]) -> Verdict? {
    actions.compactMap { if case .finish(let verdict) = $0 { verdict } else { nil } }.first
  }

  private func cause(_ actions: [SupervisorAction]) -> Cause? {
    actions.compactMap { if case .record(.death(let death)) = $0 { death.cause } else { nil } }
      .first
  }

  @Test(arguments: [0, 65, 75, 78, 80] as [Int32])
  func aCodeThatNoRankHasExplainedIsADeath(code: Int32) {
    var bench = Bench()
    _ = bench.begin()
    bench.train(4)
    #expect(cause(bench.exit(.exit(code))) == .unexplained(code))
    #expect(verdict(bench.reaped()) == nil)
    let isLaunched = bench.untilLaunch()
    #expect(isLaunched)
  }

  @Test(arguments: [.exit(0), .exit(1), .exit(255), .exit(78), .signal(9)] as [ProcessEnd])
  func anEndThatWasHeardIsOneWhateverTheLauncherReturns(end: ProcessEnd) {
    var written = Bench()
    _ = written.begin()
    written.train(4)
    #expect(cause(written.exit(end, .finished(step: 8))) == nil)
    #expect(verdict(written.reaped()) == Verdict(.finished, exitCode: .success))

    // The disk took no more events, but rank 0 said it.
    var said = Bench()
    _ = said.begin()
    said.train(4)
    _ = said.beat(0, step: 8, saved: 8, leaving: .success)
    #expect(cause(said.exit(end)) == nil)
    #expect(verdict(said.reaped()) == Verdict(.finished, exitCode: .success))
  }

  /// A rank's own word on its code outweighs the launcher's.
  @Test func theCodeARankHasSaidIsTheOne() {
    for end in [.exit(0), .exit(78), .exit(255)] as [ProcessEnd] {
      var bench = Bench()
      _ = bench.begin()
      bench.train(4)
      _ = bench.beat(1, step: 8, leaving: .badData)
      #expect(cause(bench.exit(end)) == .exit(65))
      #expect(verdict(bench.reaped()) == Verdict(.final(.badData), exitCode: .badData))
    }
  }

  /// Not the end of the run, whatever the launcher returns.
  @Test func whatHasDivergedIsNotFinished() {
    for end in [.exit(0), .exit(80), .exit(255), .signal(9)] as [ProcessEnd] {
      var bench = Bench()
      _ = bench.begin(savedStep: 5)
      bench.train(10)
      _ = bench.exit(end, .diverged(step: 20))
      #expect(verdict(bench.reaped()) == Verdict(.final(.diverged), exitCode: .diverged))
    }
  }

  /// srun returns the highest code, and ends the others after the first.
  @Test func whatARankSaidOutweighsTheLaunchersHighestCode() {
    var said = Bench()
    _ = said.begin()
    said.train(4)
    _ = said.beat(1, step: 8, leaving: .internal)
    #expect(cause(said.exit(.exit(137))) == .exit(70))

    var blamed = Bench()
    _ = blamed.begin()
    blamed.train(4)
    _ = blamed.take(.rankEnded(rank: 1, .exit(74)))
    #expect(cause(blamed.exit(.exit(137))) == .exit(74))
  }

  /// An OpenCL runtime may have taken mpirun's handler, a busy machine its time.
  @Test func aStopThatNoRankHasHeardIsRepeated() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(4)
    #expect(bench.take(.signal(.stop(.person))) == [.send(.saveAndStop)])
    var repeated: [Int] = []
    for step in 8..<40 where bench.beat(0, step: step) == [.send(.saveAndStopHere)] {
      repeated.append(step)
    }
    #expect(repeated.count == 1 && 10...14 ~= repeated[0], "\(repeated)")
  }

  /// Locked out by another job, or without its data: no disk is full.
  @Test func onlyARunThatHasBegunCanBeUnsaved() throws {
    var bench = Bench()
    _ = bench.begin(savedStep: 5)
    _ = bench.take(.launched(incarnation: 1))
    for rank in 0..<2 { _ = bench.beat(rank, step: 0, activity: .starting, resumed: -1) }
    _ = bench.take(.signal(.stop(.person)))
    _ = bench.beat(0, step: 0, leaving: .inputOutput, resumed: -1)
    _ = bench.exit(.exit(74))
    #expect(try #require(verdict(bench.reaped())).exitCode == 75)
  }

  @Test func onlyRankZeroSpeaksForTheRun() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(4)
    _ = bench.beat(1, step: 8, leaving: .success)
    #expect(cause(bench.exit(.exit(0))) == .unexplained(0))
  }

  @Test func aHostThatWasLostOutweighsTheCode() {
    for code in [0, 1, 205, 255] as [Int32] {
      var bench = Bench([JobHost(name: "a", slots: 1), JobHost(name: "b", slots: 1)])
      _ = bench.begin()
      _ = bench.reaped()
      bench.train(4)
      _ = bench.take(.hostLost(name: "b", daemon: nil))
      #expect(cause(bench.exit(.exit(code))) == .hostLost)
    }
  }

  @Test func aLauncherThatOutlivesARankIsEnded() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(4)
    #expect(bench.take(.rankEnded(rank: 1, .signal(SIGKILL))).isEmpty)
    for rank in 0..<2 { _ = bench.beat(rank, step: 9) }
    let actions = bench.wait(1.5)
    #expect(actions.contains(.send(.kill)) && cause(actions) == .signal(SIGKILL))

    // Ranks that leave may take their time.
    var leaving = Bench()
    _ = leaving.begin()
    leaving.train(4)
    for rank in 0..<2 { _ = leaving.beat(rank, step: 9, leaving: .stoppedResumable) }
    _ = leaving.take(.rankEnded(rank: 1, .exit(75)))
    #expect(leaving.wait(20).isEmpty)
    _ = leaving.exit(.exit(75), .stopped(step: 9))
    #expect(
      verdict(leaving.reaped())
        == Verdict(
          .stopped(Standing(savedStep: 9, step: 9), by: .scheduler), exitCode: .stoppedResumable))
  }

  @Test func aStopSaysWhatIsLost() throws {
    func stop(
      saved: Int?, _ end: ProcessEnd, _ word: LastWord?, found: Int? = nil,
      recorded: Int = 0
    ) throws -> Verdict {
      var bench = Bench()
      _ = bench.begin(savedStep: saved)
      bench.train(10)
      _ = bench.take(.signal(.stop(.person)))
      if end == .exit(74) { _ = bench.beat(0, step: 20, leaving: .inputOutput) }
      _ = bench.exit(end, word)
      _ = bench.take(.found(savedStep: found, recordedStep: recorded))
      return try #require(verdict(bench.reaped()))
    }
    let kept = try stop(saved: 5, .exit(75), .stopped(step: 20))
    #expect(kept.exitCode == 75)
    #expect(kept.text == "stopped; step 20 is saved, the same command goes on from there")
    let lost = try stop(saved: 5, .exit(205), nil)
    #expect(lost.exitCode == 75)
    #expect(
      lost.text == "stopped without saving steps 6 to 19: the same command goes back to step 5")
    #expect(try stop(saved: nil, .exit(1), nil).text.contains("goes back to step 0"))
    // The ranks were ended before they could tell of their last checkpoint.
    let untold = try stop(saved: 5, .exit(205), nil, found: 15)
    #expect(
      untold.text
        == "stopped without saving steps 16 to 19: the same command goes back to step 15")
    #expect(try stop(saved: nil, .exit(205), nil, found: 30).text.contains("step 30 is saved"))
    let unheard = try stop(saved: 5, .exit(205), nil, found: 15, recorded: 24)
    #expect(unheard.text.hasPrefix("stopped without saving steps 16 to 24:"))
    for word in [nil, LastWord.unsaved(step: 20)] {
      let unsaved = try stop(saved: 5, .exit(74), word)
      #expect(unsaved.exitCode == 74)
      #expect(unsaved.text.contains("could not be saved") && unsaved.text.contains("step 5"))
    }
    // The ranks alone were asked.
    var alone = Bench()
    _ = alone.begin(savedStep: 5)
    alone.train(10)
    _ = alone.exit(.exit(0), .unsaved(step: 20))
    #expect(verdict(alone.reaped())?.exitCode == 74)

    // An earlier launch had come further; what this one says of its end is the run's.
    var again = Bench()
    _ = again.begin(savedStep: 5)
    again.train(10)
    _ = again.exit(.exit(139))
    _ = again.reaped()
    let isLaunched = again.untilLaunch()
    #expect(isLaunched)
    again.train(3)
    _ = again.take(.signal(.stop(.person)))
    _ = again.exit(.exit(75), .stopped(step: 12))
    #expect(
      verdict(again.reaped())?.text
        == "stopped; step 12 is saved, the same command goes on from there")

    var early = Bench()
    _ = early.begin()
    _ = early.take(.launched(incarnation: 1))
    _ = early.take(.signal(.stop(.person)))
    _ = early.exit(.exit(1))
    #expect(verdict(early.reaped())?.text.contains("begins at step 0") == true)
  }

  /// At the end of a job's time Slurm sends what was asked for, and then TERM.
  @Test func aSchedulerMayRepeatItself() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(4)
    #expect(bench.take(.signal(.stop(.scheduler))) == [.send(.saveAndStop)])
    _ = bench.wait(2)
    #expect(bench.take(.signal(.stop(.scheduler))).isEmpty)
    #expect(bench.take(.signal(.stop(.person))).isEmpty)
    // From here on a person waits.
    bench.now += 1.5
    #expect(bench.take(.signal(.stop(.person))).first == .send(.terminate))
  }

  /// A job whose time is up gets TERM, as one that somebody has cancelled, but is queued again.
  @Test func theEndOfTheTimeIsTheSchedulers() {
    for (moment, origin) in [(50.0, StopOrigin.person), (99.5, .scheduler)] {
      var bench = Bench(endsAt: 100)
      _ = bench.begin()
      bench.train(4)
      _ = bench.take(.signal(.stop(.scheduler)))
      bench.now = moment
      _ = bench.take(.signal(.stop(.person)))
      _ = bench.exit(.exit(75), .stopped(step: 9))
      #expect(
        verdict(bench.reaped())
          == Verdict(
            .stopped(Standing(savedStep: 9, step: 9), by: origin), exitCode: .stoppedResumable))
    }
  }

  @Test func aRunStopsWhileThereIsTimeToSave() {
    var bench = Bench(endsAt: 100)
    _ = bench.begin()
    _ = bench.take(.launched(incarnation: 1))
    var stoppedAt: Double?
    // Steps of half a second, and a save that took ten.
    for step in 0..<190 where stoppedAt == nil {
      bench.work += 1
      for rank in 0..<2 { _ = bench.beat(rank, step: step, saved: 3, saveSeconds: 10) }
      if bench.wait(0.5).contains(.send(.saveAndStop)) { stoppedAt = bench.now }
    }
    #expect(stoppedAt.map { 64.0...68.0 ~= $0 } == true, "\(stoppedAt ?? 0)")
    _ = bench.exit(.exit(75), .stopped(step: 140))
    #expect(
      verdict(bench.reaped())
        == Verdict(
          .stopped(Standing(savedStep: 140, step: 140), by: .scheduler),
          exitCode: .stoppedResumable))
  }

  @Test func aSpareHostTakesThePlaceOfALostOne() {
    let hosts = ["a", "b", "c"].map { JobHost(name: $0, slots: 2) }
    var bench = Bench(hosts, ranks: 4, minimumRanks: 4)
    _ = bench.begin()
    #expect(bench.reaped() == [.launch(LaunchPlan(ranksByHost: [2, 2, 0]))])
    bench.train(3, ranks: 4)
    _ = bench.take(.hostLost(name: "b", daemon: nil))
    _ = bench.exit(.exit(205))
    _ = bench.reaped(without: [1])
    let actions = bench.wait(3)
    #expect(actions.last == .launch(LaunchPlan(ranksByHost: [2, 0, 2])))
  }

  @Test func theLastWordIsReadFromTheEndOfTheEvents() throws {
    let root = FileManager.default.temporaryDirectory
      .appending(path: "lockstep-events-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: root, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: root) }
    let paths = RunPaths(root: root)
    func word(_ lines: [String], ofLaunch launch: Int = 2) throws -> LastWord? {
      try Data(lines.joined(separator: "\n").utf8).write(to: URL(fileURLWithPath: paths.events))
      return LastWord(of: paths, ofLaunch: launch)
    }
    let end = #"{"event":"end","incarnation":2,"time":"t","step":50}"#
    let stop = #"{"event":"stop","incarnation":2,"time":"t","step":7}"#
    let supervisor = #"{"event":"supervisor","incarnation":2,"what":"death"}"#
    let step = #"{"event":"step","incarnation":2,"step":8}"#
    #expect(try word([step, end]) == .finished(step: 50))
    #expect(try word([stop, supervisor, ""]) == .stopped(step: 7))
    #expect(try word([end], ofLaunch: 3) == nil)
    #expect(try word([end, step]) == nil)
    #expect(try word([step, String(end.dropLast(9))]) == nil)
    #expect(try word([]) == nil)
    _ = try word([step, stop, supervisor, String(step.dropLast(3))])
    #expect(LastWord.furthestStep(of: paths, inLaunch: 2) == 8)
    #expect(LastWord.furthestStep(of: paths, inLaunch: 3) == 0)
    #expect(try word([#"{"event":"diverged","incarnation":2,"step":9}"#]) == .diverged(step: 9))
    #expect(try word([#"{"event":"unsaved","incarnation":2,"step":9}"#]) == .unsaved(step: 9))
    // What stood there before the launch is not its word, whatever number it bears.
    _ = try word([step, end, ""])
    let before = try FileSystem.byteCount(of: paths.events)
    #expect(LastWord(of: paths, ofLaunch: 2, after: before) == nil)
    #expect(LastWord.furthestStep(of: paths, inLaunch: 2, after: before) == 0)
    _ = try word([step, end, stop])
    #expect(LastWord(of: paths, ofLaunch: 2, after: before) == .stopped(step: 7))
    let gone = RunPaths(root: root + "-gone")
    #expect(LastWord.furthestStep(of: gone, inLaunch: 2) == 0)
    #expect(LastWord(of: gone, ofLaunch: 2) == nil)
  }
}
