import Foundation
import Testing

/// Under OpenMPI 5 a run that loses a host goes on to its last step, whatever its mpirun ends with:
/// 0 or 255, as it happens.
///
/// `launch/test --cluster` runs these; `LOCKSTEP_REQUIRE=openmpi5` fails them where they cannot.
@Suite(
  .serialized,
  .enabled(if: !SlurmCluster.wanted.isEmpty, "openmpi5: only with launch/test --cluster or --all"),
  .enabled(
    if: SlurmCluster.wanted.isEmpty || OpenMPI5.isRequired || OpenMPI5.problem == nil,
    OpenMPI5.absence))
struct OpenMPI5Tests {
  private static let steps = 400
  private static let settings = ["checkpoint.every=20", "evaluation.every=100"]
  private let scratch: Scratch
  private let hosts: Hosts

  init() throws {
    try #require(OpenMPI5.problem == nil)
    scratch = try Scratch()
    hosts = Hosts("2,1", openMPI5: true, in: scratch)
  }

  private func start(_ run: TinyRun, minimumRanks: Int) throws -> Job {
    // In the place of `train`.
    let command = try run.command()
    return try hosts.start(
      [command[0], "launch", "--host", hosts.list()]
        + ["--min-ranks", String(minimumRanks)] + command.dropFirst(2))
  }

  private func daemon(on host: Int) throws -> Int32 {
    try #require(
      try hosts.processes(on: host).first {
        Scratch.commandLine(of: $0).split(separator: "\0").first?.hasSuffix("/prted") == true
      }, "no daemon of OpenMPI 5 on host\(host)")
  }

  /// The run has lost host1 once, and comes to the bytes of one rank.
  private func expectRecovery(of run: TinyRun, _ job: Job) throws {
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let death = run.supervisorLines("death").first
    #expect(death?.contains("\"host\":\"\(Hosts.address(of: 1))\"") == true, "\(death ?? "")")
    let again = run.supervisorLines("recovered").first
    let seconds = try TinyRun.number("seconds", in: again)
    let detection = try TinyRun.number("detect_seconds", in: death)
    FileHandle.standardError.write(
      Data("OpenMPI 5: detected in \(detection) s, recovered in \(seconds) s\n".utf8))
    let alone = try TinyRun(Self.settings, steps: Self.steps, name: "alone", in: scratch).finish()
    #expect(try run.result().stepCount == Self.steps)
    #expect(try run.result().differences(from: alone) == [])
    try eventually(within: 5, "all processes gone") { scratch.processes.isEmpty ? true : nil }
  }

  @Test func aHostWhoseDaemonWasKilledIsUsedAgain() throws {
    let run = try TinyRun(Self.settings, steps: Self.steps, in: scratch)
    let job = try start(run, minimumRanks: 3)
    try run.waitForStep(50, of: job)
    kill(try daemon(on: 1), SIGKILL)
    try expectRecovery(of: run, job)
    #expect(run.supervisorLines("launch").count == 2)
  }

  @Test func aHostThatIsCutOffIsLeftOut() throws {
    let run = try TinyRun(Self.settings, steps: Self.steps, in: scratch)
    let job = try start(run, minimumRanks: 2)
    try run.waitForStep(50, of: job)
    _ = try daemon(on: 1)
    try hosts.cutLink(of: 1)
    try eventually(within: 25, "what was cut off ends") {
      try hosts.processes(on: 1).isEmpty ? true : nil
    }
    #expect(job.isRunning, "the hosts were gone before what ran on them")
    try expectRecovery(of: run, job)
    #expect(run.supervisorLines("left_out").count == 1)
  }
}

/// The userland of `Tests/Cluster/openmpi5`, which is made when it is first asked for.
enum OpenMPI5 {
  static let script = Program.repository + "/Tests/Cluster/openmpi5"
  private static let skipped: Int32 = 77
  private static let makingSeconds = 900.0

  static let isRequired =
    ProcessInfo.processInfo.environment["LOCKSTEP_REQUIRE", default: ""]
    .split(separator: ",").contains("openmpi5")

  /// Why there is none on this machine; nil where it works, or fails and so must be looked at.
  static let problem: String? = {
    guard let scratch = try? Scratch(),
      let outcome = try? Job([script, "true"], in: scratch).outcome(deadlineSeconds: makingSeconds)
    else { return nil }
    FileHandle.standardError.write(Data(outcome.error.utf8))
    return outcome.exitCode == skipped ? outcome.errorLines.last ?? "" : nil
  }()

  /// The same for who skips the tests; made for nothing else than them.
  static let absence: Comment =
    SlurmCluster.wanted.isEmpty ? "" : "openmpi5: \(problem ?? "there is one")"
}
