import Core
import Supervision
import Testing
import Training

/// What the supervisor makes of ranks for which there was no memory.
@Suite struct MemoryTests {
  private typealias Bench = SupervisorBench

  private func deaths(_ actions: [SupervisorAction]) -> [Death] {
    actions.compactMap { if case .record(.death(let death)) = $0 { death } else { nil } }
  }

  private func verdict(_ actions: [SupervisorAction]) -> Verdict? {
    actions.compactMap { if case .finish(let verdict) = $0 { verdict } else { nil } }.first
  }

  @Test func aRankThatRanOutOfMemoryIsToldFromOneThatWasKilled() throws {
    func cause(
      of rank: Int, _ events: SupervisorEvent..., launcher: Int32 = 137
    ) throws -> Cause {
      var bench = Bench([
        JobHost(name: "localhost", slots: 1), JobHost(name: "elsewhere", slots: 1),
      ])
      _ = bench.begin()
      _ = bench.reaped()
      bench.train(2)
      for event in events { #expect(bench.take(event).isEmpty) }
      _ = bench.take(.rankEnded(rank: rank, .signal(9)))
      return try #require(deaths(bench.exit(.exit(launcher))).first).cause
    }
    let here = SupervisorEvent.memoryRanOut(.machine, rank: nil)
    #expect(try cause(of: 0, here) == .outOfMemory(.machine))
    #expect(try cause(of: 0, .memoryRanOut(.job, rank: nil)) == .outOfMemory(.job))
    #expect(try cause(of: 0) == .signal(9))
    // Of another machine's memory this one knows nothing, unless Slurm tells.
    #expect(try cause(of: 1, here) == .signal(9))
    #expect(try cause(of: 1, .memoryRanOut(.job, rank: 1), launcher: 1) == .outOfMemory(.job))
    #expect(try cause(of: 1, .memoryRanOut(.job, rank: 0)) == .signal(9))

    for (owner, words) in [
      (MemoryLimit.Owner.job, "the job's memory limit was reached"),
      (.machine, "this machine's memory ran out"),
    ] {
      #expect(Cause.outOfMemory(owner).text == "killed by SIGKILL, as \(words)")
      let verdict = Verdict(
        .deterministic(.outOfMemory(owner), times: 3), exitCode: .internal)
      #expect(verdict.text.contains(words))
    }
  }

  /// The kernel takes one rank or another.
  @Test(arguments: [MemoryLimit.Owner.job, .machine])
  func threeTimesTooLittleMemoryOfTheJobAreEnough(owner: MemoryLimit.Owner) {
    var bench = Bench()
    _ = bench.begin()
    var end: Verdict?
    for incarnation in 1...3 {
      bench.train(1, incarnation: incarnation)
      _ = bench.take(.memoryRanOut(owner, rank: nil))
      _ = bench.take(.rankEnded(rank: incarnation % 2, .signal(9)))
      _ = bench.exit(.exit(137))
      end = verdict(bench.reaped())
      guard incarnation < 3 else { break }
      let isLaunched = bench.untilLaunch()
      #expect(end == nil && isLaunched)
    }
    // Memory of a machine may be taken by others for a while.
    #expect(
      end
        == (owner == .job
          ? Verdict(.deterministic(.outOfMemory(.job), times: 3), exitCode: .internal) : nil))
  }
}
