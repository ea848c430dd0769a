import Core
import Foundation
import Testing

/// Links that lead nowhere, and folders without room for temporary files: one sentence each, and
/// nothing is made.
@Suite(.serialized) struct DeadEndTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test(arguments: [
    (["train", "CONFIG", "data.path=DATA", "--run", "lost"], ExitCode.cannotCreate),
    (["train", "CONFIG", "data.path=DATA", "--run", "lost/run"], .cannotCreate),
    (["launch", "-np", "1", "CONFIG", "data.path=DATA", "--run", "lost"], .cannotCreate),
    (["train", "CONFIG", "data.path=lost", "--run", "run"], .missingInput),
    (["train", "lost", "--run", "run"], .missingInput),
    (["launch", "-np", "1", "lost", "--run", "run"], .missingInput),
    (["launch", "-np", "1", "--hostfile", "lost", "CONFIG", "--run", "run"], .missingInput),
    (["bench", "step", "lost"], .missingInput),
    (["inspect", "lost"], .missingInput),
    (["inspect", "lost/checkpoint.h5"], .missingInput),
    (["inspect", "--verify", "lost"], .missingInput),
    (["inspect", "--diff", "lost", "lost"], .missingInput),
    (["inspect", "half"], .badData),
    (["average", "lost"], .missingInput),
    (["average", "half"], .missingInput),
    (["average", "RUN", "--last", "1", "--out", "lost"], .cannotCreate),
    (["average", "RUN", "--last", "1", "--out", "lost/a"], .cannotCreate),
    (["translate", "--checkpoint", "lost"], .missingInput),
    (["evaluate", "--checkpoint", "lost", "--data", "DATA"], .missingInput),
    (["evaluate", "--checkpoint", "RUN", "--data", "lost"], .missingInput),
    (["prepare", "--preset", "copy", "--out", "lost"], .cannotCreate),
    (["prepare", "--preset", "copy", "--out", "lost/data"], .cannotCreate),
    (["prepare", "--source", "lost", "--target", "lost", "--out", "data"], .missingInput),
  ])
  func aLinkThatLeadsNowhereIsNamed(arguments: [String], code: ExitCode) throws {
    try FileManager.default.createSymbolicLink(
      atPath: scratch.path + "/lost", withDestinationPath: "gone")
    // A run whose checkpoints were on a disk that is not there.
    try FileSystem.createFolder(scratch.path + "/half")
    try FileManager.default.createSymbolicLink(
      atPath: scratch.path + "/half/checkpoints", withDestinationPath: "gone")
    let places = [
      "CONFIG": Program.copyConfiguration, "DATA": try CopyData.path, "RUN": try TinyRun.trained,
    ]
    let words = arguments.map { word in
      places.reduce(word) { $0.replacing($1.key, with: $1.value) }
    }
    let outcome = try scratch.run(words)
    #expect(outcome.exitCode == code.rawValue, "\(outcome.error)")
    #expect(outcome.output == "")
    let lines = outcome.errorLines.filter { !$0.hasPrefix("prepare: reading") }
    #expect(lines.count == 1, "\(outcome.error)")
    #expect(
      outcome.error.contains(/(lost|half\/checkpoints) is a link to gone that leads nowhere/),
      "\(outcome.error)")
    #expect(FileSystem.kind(of: scratch.path + "/lost") == .link)
    for name in ["gone", "half/gone", "run", "data"] {
      #expect(!FileSystem.exists("\(scratch.path)/\(name)"), "\(name)")
    }
  }

  @Test(arguments: [Program.Launch.alone, .mpirun(2)])
  func aRunThatHasOnlyItsBestCheckpointDoesNotBeginAgain(launch: Program.Launch) throws {
    let run = try TinyRun(steps: 5, in: scratch)
    try run.finish()
    let (own, best) = (run.path + "/checkpoints/step-000000005", run.path + "/checkpoints/best")
    try FileManager.default.moveItem(atPath: own, toPath: best)
    try TinyRun(steps: 10, in: scratch).train(launch)
      .expectRefusal(.badData, naming: ["but best; rename that to step-000000005"])
    for command in [["inspect"], ["average"], ["translate", "--checkpoint"]] {
      try scratch.run(command + [run.path])
        .expectRefusal(.badData, naming: ["but best; rename that to step-000000005"])
    }
    try FileManager.default.moveItem(atPath: best, toPath: own)
    #expect(try TinyRun(steps: 10, in: scratch).train(launch).exitCode == 0)
  }

  // MARK: - Temporary files

  private static let canMount: Bool = {
    guard let scratch = try? Scratch(), let disk = try? mount(in: scratch) else { return false }
    unmount(disk, in: scratch)
    return true
  }()

  /// A full disk in a folder of its own.
  private static func mount(in scratch: Scratch) throws -> String {
    let path = scratch.path + "/full"
    try FileSystem.createFolder(path)
    let mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", path]
    let outcome = try Job(mount, in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    try scratch.file("full/filler", Data(count: 900_000))
    return path
  }

  private static func unmount(_ path: String, in scratch: Scratch) {
    scratch.kill()
    _ = try? Job(["umount", "--lazy", path], in: scratch).outcome()
  }

  /// OpenMPI would say many lines, or wait for ever.
  @Test(.enabled(if: canMount, "SKIPPED: needs the right to mount a small tmpfs"))
  func aFullFolderForTemporaryFilesIsNamedBeforeAnythingStarts() throws {
    let disk = try Self.mount(in: scratch)
    defer { Self.unmount(disk, in: scratch) }
    let run = try TinyRun(steps: 5, in: scratch)
    let job = try Job(
      run.command(.supervised(2)), environment: ["TMPDIR": disk], in: scratch)
    try job.outcome().expectRefusal(
      .inputOutput,
      naming: [": \(disk): has no room for the ", "No space left on device", "by TMPDIR"])
    #expect(try FileSystem.names(in: disk) == ["filler"])
    #expect(run.savedSteps == [])
    // What needs none does not ask.
    let alone = try Job(run.command(), environment: ["TMPDIR": disk], in: scratch).outcome()
    #expect(alone.exitCode == 0, "\(alone.error)")
  }

  @Test(arguments: ["nowhere", "file"])
  func aPlaceForTemporaryFilesThatIsNoneIsNamed(name: String) throws {
    try scratch.file("file", "")
    let run = try TinyRun(steps: 5, in: scratch)
    let place = "\(scratch.path)/\(name)"
    let job = try Job(run.command(.supervised(2)), environment: ["TMPDIR": place], in: scratch)
    try job.outcome().expectRefusal(
      .cannotCreate, naming: [": \(place): cannot hold a folder for temporary", "by TMPDIR"])
  }
}
