import Core
import Supervision
import Testing
import Training

/// The decisions, one by one, on a clock that only the test moves.
@Suite struct SupervisorTests {
  private typealias Bench = SupervisorBench

  private func sends(_ actions: [SupervisorAction]) -> [JobSignal] {
    actions.compactMap { if case .send(let signal) = $0 { signal } else { nil } }
  }

  private func deaths(_ actions: [SupervisorAction]) -> [Death] {
    actions.compactMap { if case .record(.death(let death)) = $0 { death } else { nil } }
  }

  private func verdict(_ actions: [SupervisorAction]) -> Verdict? {
    actions.compactMap { if case .finish(let verdict) = $0 { verdict } else { nil } }.first
  }

  @Test func aRunThatEndsWellIsOver() {
    var bench = Bench()
    #expect(bench.begin() == [.launch(LaunchPlan(ranksByHost: [2]))])
    bench.train(20)
    #expect(bench.exit(.exit(0), .finished(step: 40)) == [.reap(number: 1)])
    #expect(verdict(bench.reaped()) == Verdict(.finished, exitCode: .success))
  }

  /// The last step had been saved: the next launch has nothing to do but to say so.
  @Test func aLaunchThatFindsAllDoneHasRecovered() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5, saved: 8)
    _ = bench.exit(.signal(9))
    var actions = bench.reaped() + bench.wait(60)
    #expect(actions.contains(.launch(LaunchPlan(ranksByHost: [2]))))
    _ = bench.take(.launched(incarnation: 2))
    actions = bench.exit(.exit(0), .finished(step: 8))
    let recoveries = actions.compactMap { action -> Int? in
      guard case .record(.recovered(2, _, let resumed, _)) = action else { return nil }
      return resumed
    }
    #expect(recoveries == [8])
    #expect(verdict(bench.reaped()) == Verdict(.finished, exitCode: .success))
  }

  @Test func aSilentRankIsFoundWithinFiveSeconds() throws {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5)
    var actions: [SupervisorAction] = []
    let since = bench.now - 0.5
    for step in 10..<40 where actions.isEmpty {
      bench.work += 1
      _ = bench.beat(0, step: step)
      actions = bench.wait(0.5)
    }
    #expect(sends(actions) == [.kill])
    let death = try #require(deaths(actions).first)
    #expect(death.cause == .silent && death.rank == 1 && death.host == 0)
    #expect(4.5...5.0 ~= bench.now - since && 4.5...5.0 ~= death.secondsToDetect)
  }

  /// What others say of a rank counts from when it last told of itself, not from when they said it.
  @Test func aRankOnlyOthersSpeakForIsFoundAsSoon() throws {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5)
    var actions: [SupervisorAction] = []
    let since = bench.now
    _ = bench.beat(1, step: 10)
    for step in 10..<40 where actions.isEmpty {
      bench.work += 1
      _ = bench.beat(0, step: step)
      _ = bench.beat(1, step: 10, age: bench.now - since)
      actions = bench.wait(0.5)
    }
    let death = try #require(deaths(actions).first)
    #expect(death.cause == .silent && death.rank == 1)
    #expect(4.5...5.0 ~= bench.now - since && 4.5...5.0 ~= death.secondsToDetect)
  }

  @Test func aHangIsFoundAfterTenSecondsAndSlowStepsAreNot() throws {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5)
    var actions: [SupervisorAction] = []
    let since = bench.now - 0.5
    while actions.isEmpty, bench.now < 60 {
      for rank in 0..<2 { _ = bench.beat(rank, step: 9) }
      actions = bench.wait(0.5)
    }
    #expect(deaths(actions).first?.cause == .stalled)
    #expect(10.0...11.0 ~= bench.now - since)

    // Steps of eight seconds: forty may pass.
    var slow = Bench()
    _ = slow.begin()
    _ = slow.take(.launched(incarnation: 1))
    for halfSecond in 0..<160 {
      if halfSecond % 16 == 0 { slow.work += 1 }
      for rank in 0..<2 { _ = slow.beat(rank, step: halfSecond / 16) }
      #expect(slow.wait(0.5).isEmpty)
    }
    for _ in 0..<60 {
      for rank in 0..<2 { _ = slow.beat(rank, step: 9) }
      #expect(slow.wait(0.5).isEmpty)
    }
  }

  /// A first step, a validation and a save of a minute between steps of three seconds: fifteen may
  /// pass, where patience lasts so long.
  @Test func onlyStepsAreMeasuredAsSteps() {
    for (patience, limit) in [(900.0, 15.0), (12.0, 12.0)] {
      var bench = Bench(patienceSeconds: patience)
      _ = bench.begin()
      _ = bench.take(.launched(incarnation: 1))
      let long = patience / 15
      for (step, activity, seconds) in [
        (0, RankActivity.training, long), (1, .training, 3), (2, .training, 3), (3, .training, 3),
        (4, .evaluating, long), (4, .training, 3), (5, .saving, long), (5, .training, 3),
        (6, .training, 3),
      ] {
        bench.work += 1
        for _ in 0..<Int(seconds * 2) {
          for rank in 0..<2 { _ = bench.beat(rank, step: step, activity: activity) }
          #expect(bench.wait(0.5).isEmpty)
        }
      }
      var actions: [SupervisorAction] = []
      let since = bench.now
      while actions.isEmpty, bench.now < since + 400 {
        for rank in 0..<2 { _ = bench.beat(rank, step: 7) }
        actions = bench.wait(0.5)
      }
      #expect(deaths(actions).first?.cause == .stalled)
      #expect(limit...limit + 1 ~= bench.now - since)
    }
  }

  @Test func aPauseOfTheSupervisorIsNotBlamedOnRanks() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5)
    bench.now += 3600
    #expect(bench.take(.tick).isEmpty)
    for rank in 0..<2 { _ = bench.beat(rank, step: 5000) }
    #expect(bench.wait(4).isEmpty)

    // Neither is one before the ranks have begun.
    var starting = Bench()
    _ = starting.begin()
    _ = starting.take(.launched(incarnation: 1))
    starting.now += 3600
    #expect(starting.take(.tick).isEmpty)
    #expect(starting.wait(80).isEmpty)
    #expect(sends(starting.wait(15)) == [.kill])
  }

  @Test func signsOfAnotherLaunchKeepNobodyAlive() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(5, incarnation: 3)
    var actions: [SupervisorAction] = []
    for step in 10..<22 where actions.isEmpty {
      for rank in 0..<2 {
        _ = bench.beat(rank, step: step, incarnation: 2)
        _ = bench.beat(rank, step: step, incarnation: 4)
      }
      actions = bench.wait(0.5)
    }
    #expect(deaths(actions).first?.cause == .silent)
  }

  @Test func theBudgetIsSpentWithoutACheckpointAndRefilledByOne() {
    for refills in [false, true] {
      var bench = Bench()
      _ = bench.begin()
      var end: Verdict?
      for incarnation in 1...12 where end == nil {
        bench.train(2, incarnation: incarnation, saved: refills ? incarnation : -1)
        // Never the same death twice.
        _ = bench.exit(.exit(Int32(100 + incarnation)))
        end = verdict(bench.reaped())
        guard end == nil else { break }
        let isLaunched = bench.untilLaunch()
        #expect(isLaunched)
      }
      #expect(
        end == (refills ? nil : Verdict(.budgetSpent(.exit(106), restarts: 5), exitCode: .internal))
      )
    }
  }

  /// Two launches die before they tell what there is; that the third finds some is no progress.
  @Test func anOldCheckpointRefillsNothing() {
    var bench = Bench()
    _ = bench.begin()
    var end: Verdict?
    for incarnation in 1...7 where end == nil {
      bench.train(incarnation > 2 ? 2 : 0, incarnation: incarnation)
      _ = bench.exit(.exit(Int32(100 + incarnation)))
      end = verdict(bench.reaped())
      if end == nil { _ = bench.untilLaunch() }
    }
    #expect(end == Verdict(.budgetSpent(.exit(106), restarts: 5), exitCode: .internal))
  }

  @Test func aLaunchThatDidNotComeAboutSaysWhy() throws {
    var bench = Bench()
    _ = bench.begin()
    let reason = "RUN/incarnation: cannot read (Is a directory)"
    let actions = bench.take(.launchFailed(Failure(.inputOutput, reason)))
    let death = try #require(deaths(actions).first)
    #expect(SupervisorRecord.death(death).sentence([]) == "there was no launch: \(reason)")
    let isTriedAgain = bench.untilLaunch()
    #expect(isTriedAgain)
  }

  @Test func whatCannotBeStartedForTheMomentIsTriedAgainOnceARunHasBegun() {
    let failure = Failure(.unavailable, "mpirun: cannot be started (Cannot allocate memory)")
    var bench = Bench()
    _ = bench.begin()
    #expect(
      verdict(bench.take(.launchFailed(failure)))
        == Verdict(.launchFailed(failure), exitCode: .unavailable))

    var later = Bench()
    _ = later.begin()
    later.train(3)
    _ = later.exit(.exit(137))
    _ = later.reaped()
    var isLaunched = later.untilLaunch()
    #expect(isLaunched && verdict(later.take(.launchFailed(failure))) == nil)
    isLaunched = later.untilLaunch()
    #expect(isLaunched)
  }

  @Test func threeSameDeathsAtOneStepAreAProgramError() {
    var bench = Bench()
    _ = bench.begin()
    var end: Verdict?
    for incarnation in 1...3 {
      bench.train(4, incarnation: incarnation)
      _ = bench.take(.rankEnded(rank: 1, .signal(11)))
      _ = bench.exit(.exit(139))
      end = verdict(bench.reaped())
      guard incarnation < 3 else { break }
      let isLaunched = bench.untilLaunch()
      #expect(end == nil && isLaunched)
    }
    #expect(end == Verdict(.deterministic(.signal(11), times: 3), exitCode: .internal))
  }

  @Test(arguments: [
    ExitCode.usage, .badData, .missingInput, .cannotCreate, .configuration,
    .outOfLockstep, .diverged,
  ])
  func codesThatARestartWouldRepeatAreFinal(code: ExitCode) {
    var bench = Bench()
    _ = bench.begin()
    bench.train(2)
    _ = bench.beat(1, step: 4, leaving: code)
    _ = bench.exit(.exit(code.rawValue))
    #expect(
      verdict(bench.reaped()) == Verdict(.final(code), exitCode: code))
  }

  @Test func theFirstSignalSavesTheSecondEnds() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(3)
    #expect(bench.take(.signal(.save)) == [.send(.save)])
    #expect(bench.take(.signal(.stop(.person))) == [.send(.saveAndStop)])
    // What comes at once is the same request, sent to the process and to its group.
    #expect(bench.take(.signal(.stop(.person))).isEmpty)
    #expect(bench.wait(0.9).isEmpty)
    #expect(bench.take(.signal(.stop(.person))).isEmpty)
    #expect(bench.wait(0.2).isEmpty)
    #expect(sends(bench.take(.signal(.stop(.person)))) == [.terminate])
    #expect(bench.take(.signal(.stop(.person))).isEmpty)
    #expect(sends(bench.wait(2.5)).isEmpty)
    #expect(sends(bench.wait(1)) == [.kill])
    _ = bench.exit(.signal(9))
    #expect(
      verdict(bench.reaped())
        == Verdict(
          .stopped(Standing(savedStep: 0, step: 5), by: .person), exitCode: .stoppedResumable))
  }

  @Test func ranksThatHaveNotBegunAreNotAskedToSave() {
    var bench = Bench()
    _ = bench.begin()
    _ = bench.take(.launched(incarnation: 1))
    _ = bench.beat(0, step: 0)
    #expect(bench.take(.signal(.save)).isEmpty)
    #expect(sends(bench.take(.signal(.stop(.person)))) == [.terminate])
  }

  @Test func hostsThatDoNotAnswerAreLeftOutAndAskedAgain() {
    let hosts = [JobHost(name: "a", slots: 2), JobHost(name: "b", slots: 2)]
    var bench = Bench(hosts, minimumRanks: 2)
    #expect(bench.begin() == [.reap(number: 1)])
    #expect(
      bench.reaped(without: [1]) == [
        .record(.leftOut([SilentHost(host: 1, reason: "gone")])),
        .launch(LaunchPlan(ranksByHost: [2, 0])),
      ])
    bench.train(3)
    // Whoever answered when the launch was cleared up is not asked again.
    _ = bench.exit(.exit(205))
    _ = bench.reaped()
    #expect(bench.wait(1.5) == [.launch(LaunchPlan(ranksByHost: [2, 2]))])
    bench.train(3)
    _ = bench.exit(.exit(205))
    _ = bench.reaped(without: [1])
    #expect(
      bench.wait(3) == [
        .record(.leftOut([SilentHost(host: 1, reason: "gone")])),
        .launch(LaunchPlan(ranksByHost: [2, 0])),
      ])

    var strict = Bench(hosts, minimumRanks: 3)
    _ = strict.begin()
    _ = strict.reaped()
    strict.train(3)
    _ = strict.exit(.exit(205))
    _ = strict.reaped(without: [0])
    // Too few: they get another chance before it counts as a failure.
    #expect(strict.wait(3) == [.reap(number: 3)])
    var end: Verdict?
    for _ in 0..<400 where end == nil {
      end = verdict(strict.reaped(without: [0])) ?? verdict(strict.wait(1))
    }
    #expect(end == Verdict(.budgetSpent(.hostsMissing, restarts: 5), exitCode: .unavailable))
  }

  @Test func oldAnswersOfHostsDoNotCount() {
    let hosts = [JobHost(name: "a", slots: 1), JobHost(name: "b", slots: 1)]
    var bench = Bench(hosts)
    _ = bench.begin()
    _ = bench.reaped()
    // Each restart waits longer; from the fourth on the hosts are asked anew.
    var asked: [Bool] = []
    for _ in 1...5 {
      bench.train(3)
      _ = bench.exit(.exit(205))
      _ = bench.reaped()
      let actions = bench.wait(61)
      asked.append(actions.contains { if case .reap = $0 { true } else { false } })
      if asked.last == true { _ = bench.reaped() }
    }
    #expect(asked == [false, false, false, true, true])
  }

  /// A host that answered before it was lost has not answered the next question.
  @Test func aLateAnswerIsToAnotherQuestion() {
    let hosts = [JobHost(name: "a", slots: 1), JobHost(name: "b", slots: 1)]
    var bench = Bench(hosts)
    #expect(bench.begin() == [.reap(number: 1)])
    _ = bench.reaped()
    bench.train(3)
    #expect(bench.exit(.exit(205)).last == .reap(number: 2))
    // Nobody answers in time; the next launch asks again.
    #expect(bench.wait(32).contains(.reap(number: 3)))
    #expect(bench.take(.reaped(number: 2, silent: [])).isEmpty)
    #expect(bench.reaped(without: [1]).contains(.launch(LaunchPlan(ranksByHost: [1, 0]))))
  }

  @Test func aHostMpirunHasLostIsNamed() throws {
    let hosts = [JobHost(name: "a", slots: 1), JobHost(name: "b.cluster", slots: 1)]
    var bench = Bench(hosts)
    _ = bench.begin()
    _ = bench.reaped()
    bench.train(3)
    _ = bench.take(.hostLost(name: "b", daemon: nil))
    let death = try #require(deaths(bench.exit(.exit(205))).first)
    #expect(death.host == 1 && death.rank == nil)
    #expect(
      SupervisorRecord.death(death).sentence(hosts)
        == "launch 1 ended: host b.cluster at step 5: the launcher lost a host")
  }

  @Test func whatHasLostItsRunEndsItsRanks() {
    var bench = Bench()
    _ = bench.begin()
    bench.train(3)
    #expect(sends(bench.take(.fenced)) == [.kill])
    _ = bench.exit(.signal(9))
    #expect(
      verdict(bench.reaped()) == Verdict(.fenced, exitCode: .inputOutput))
  }
}
