import Core
import Foundation
import Synchronization
import Testing

/// Whatever dies at whatever moment, the supervised run ends with the bytes of the undisturbed one.
///
/// Seeded: a trial that fails is repeated with `LOCKSTEP_CHAOS_SEED=N LOCKSTEP_CHAOS_TRIALS=1`.
/// `launch/test` runs many of them with nothing else beside them, so that the times it prints mean
/// something; in any other run of the tests a few have to do.
@Suite struct ChaosTests {
  /// Trials go on side by side: of each a good part is waiting.
  private static let streams = 2
  private static let seeds: Range<Int> = {
    let environment = ProcessInfo.processInfo.environment
    let first = environment["LOCKSTEP_CHAOS_SEED"].flatMap { Int($0) } ?? 1
    return first..<first + (environment["LOCKSTEP_CHAOS_TRIALS"].flatMap { Int($0) } ?? 4)
  }()

  private struct Progress {
    var table = ChaosTable()
    var done = 0
    var skipped = 0
    var streamsEnded = 0
  }

  private static let progress = Mutex(Progress())

  private static let overrides = [
    "model.encoder_layers=2", "model.decoder_layers=2",
    "checkpoint.every=\(ChaosTrial.saveInterval)",
    "evaluation.every=\(ChaosTrial.evaluationInterval)",
  ]

  private static let undisturbed = Result<RunResult, any Error> {
    let scratch = try Scratch()
    return try TinyRun(overrides, steps: ChaosTrial.steps, in: scratch).finish()
  }

  @Test(arguments: 0..<streams) func whateverDiesTheBytesAreTheSame(stream: Int) throws {
    for seed in Self.seeds where seed % Self.streams == stream {
      let trial = ChaosTrial(seed: seed)
      let isPossible = !trial.victim.needsHosts || Hosts.isPermitted
      let disturbed =
        isPossible ? try Disturbance(trial).endingInTheBytes(of: Self.undisturbed.get()) : nil
      Self.progress.withLock { progress in
        progress.done += 1
        if let disturbed {
          progress.table.add(trial, happened: disturbed.happened, disturbed.run)
        } else {
          progress.skipped += 1
        }
        guard progress.done.isMultiple(of: 50) else { return }
        say("\(progress.done) of \(Self.seeds.count) trials")
      }
    }
    Self.progress.withLock { progress in
      progress.streamsEnded += 1
      if progress.streamsEnded == Self.streams { conclude(progress) }
    }
  }

  private func conclude(_ progress: Progress) {
    for line in progress.table.lines { say(line) }
    if progress.skipped > 0 { say("SKIPPED: \(progress.skipped) trials need network namespaces") }
    // A fault test in which nothing happens proves nothing: most of them have to.
    let (happened, tried) = (progress.table.happened, progress.done - progress.skipped)
    #expect(tried < 8 || happened * 10 >= tried * 9, "\(happened) of \(tried)")
  }

  private func say(_ line: String) {
    FileHandle.standardError.write(Data("  chaos: \(line)\n".utf8))
  }

  /// One trial, with a folder, processes and hosts of its own.
  private struct Disturbance {
    let trial: ChaosTrial
    private let scratch: Scratch
    private let run: TinyRun
    private let hosts: Hosts?

    init(_ trial: ChaosTrial) throws {
      self.trial = trial
      scratch = try Scratch()
      run = try TinyRun(
        ChaosTests.overrides + trial.layout, steps: ChaosTrial.steps, in: scratch)
      let layout = trial.ranks.map(String.init).joined(separator: ",")
      hosts = trial.victim.needsHosts ? Hosts(layout, in: scratch) : nil
    }

    /// Expects that; returns whether the fault happened.
    func endingInTheBytes(
      of undisturbed: RunResult
    ) throws -> (happened: Bool, run: TinyRun) {
      let job = try start()
      var happened = false
      if trial.victim != .rank, let stopped = try waitForStopped(job) {
        happened = true
        try disturb(job)
        // Whatever has become of its job, it goes on where it stood.
        kill(stopped, SIGCONT)
      }
      var outcome = try job.outcome(deadlineSeconds: 120)
      if trial.victim == .supervisor, happened {
        #expect(outcome.exitCode == 128 + SIGKILL, "\(trial)")
        outcome = try run.train(.supervised(trial.ranks[0]))
      }
      happened = happened || outcome.error.contains("fault point")
      #expect(outcome.exitCode == 0, "\(trial)\n\(outcome.error)")
      #expect(try run.result().differences(from: undisturbed) == [], "\(trial)")
      try eventually(within: 10, "all processes of \(trial) gone") {
        scratch.processes.isEmpty ? true : nil
      }
      return (happened, run)
    }

    private func start() throws -> Job {
      guard let hosts else {
        return try run.start(.supervised(trial.ranks[0]), faults: trial.faults)
      }
      // In the place of `train`.
      let command = try run.command()
      let launch = [command[0], "launch", "--host", hosts.list(), "--min-ranks", "1"]
      return try hosts.start(
        launch + command.dropFirst(2), environment: ["LOCKSTEP_FAULT": trial.faults])
    }

    /// The rank that stopped itself at its fault point, or nil when the job ended without.
    private func waitForStopped(_ job: Job) throws -> Int32? {
      try eventually("a rank stops itself, \(trial)") { () -> Int32?? in
        guard job.isRunning else { return .some(nil) }
        for process in scratch.ranks where Scratch.isStopped(process) { return .some(process) }
        return nil
      }
    }

    private func disturb(_ job: Job) throws {
      switch trial.victim {
      case .rank: break
      case .mpirun: kill(try process(["mpirun", "prterun"], among: scratch.processes), SIGKILL)
      case .supervisor: job.send(SIGKILL)
      case .daemon:
        let processes = try #require(hosts).processes(on: 1)
        kill(try process(["orted", "prted"], among: processes), SIGKILL)
      case .host:
        for process in try #require(hosts).processes(on: 1) { kill(process, SIGKILL) }
      case .link: try #require(hosts).cutLink(of: 1)
      }
    }

    private func process(_ programs: [Substring], among processes: [Int32]) throws -> Int32 {
      try #require(
        processes.first { process in
          let words = Scratch.commandLine(of: process).split(separator: "\0")
          return words.first?.split(separator: "/").last.map(programs.contains) == true
        }, "\(trial)")
    }
  }
}
