import Foundation
import Testing

/// What `ps`, `top`, Slurm and the kernel call a rank, which starts itself again for its kernels.
@Suite(.serialized) struct ProcessNameTests {
  private static func name(of pid: Int32) -> String? {
    try? String(contentsOfFile: "/proc/\(pid)/comm", encoding: .utf8)
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func ranksAreCalledLockstep(launch: Program.Launch) throws {
    let scratch = try Scratch()
    let run = try TinyRun(steps: 100_000, in: scratch)
    // No kernels are called so: every rank has to start itself again.
    let job = try run.start(launch, environment: ["OPENBLAS_CORETYPE": "Abacus"])
    try run.waitForStep(2, of: job)
    let names = scratch.ranks.map(Self.name)
    #expect(!names.isEmpty && names.allSatisfy { $0 == "lockstep\n" }, "\(names)")
    scratch.kill()
    _ = try job.outcome()
  }

  /// A new build may be put in the place of a program that runs.
  @Test func aProgramThatLiesNowhereAnyMoreKeepsItsName() throws {
    let scratch = try Scratch()
    let copy = scratch.path + "/lockstep"
    try FileManager.default.copyItem(atPath: try Program.command([])[0], toPath: copy)
    let script = #"exec 3<"$0"; rm "$0"; exec -a "$0" /proc/self/fd/3 "$@""#
    let job = try Job(
      [
        "bash", "-c", script, copy, "bench", "step", Program.copyConfiguration, "--steps",
        "1000000",
      ], environment: ["OPENBLAS_CORETYPE": "Abacus"], in: scratch)
    try eventually("it has its name again") {
      try #require(job.isRunning, "\(job.errorSoFar)")
      return scratch.ranks.contains { Self.name(of: $0) == "lockstep\n" } ? true : nil
    }
    scratch.kill()
    _ = try job.outcome()
  }
}
