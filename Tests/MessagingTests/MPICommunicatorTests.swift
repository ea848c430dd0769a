import Foundation
import Testing

/// MPI starts once a process and never inside the test runner: the probe runs under mpirun.
@Suite(.serialized, .timeLimit(.minutes(3))) struct MPICommunicatorTests {
  @Test(arguments: [1, 2, 3, 5]) func everyOperationGivesWhatItMust(ranks: Int) throws {
    let outcome = try mpirun(ranks, ["check"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == ranks)
  }

  @Test(arguments: [(2, 1_000), (3, 1), (3, 997), (5, 1_000)])
  func piecesChangeNothing(ranks: Int, pieceLimit: Int) throws {
    let outcome = try mpirun(ranks, ["check", String(pieceLimit)])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == ranks)
  }

  @Test func anAbortingRankTakesTheJobDownWithItsCode() throws {
    #expect(try mpirun(3, ["abort"]).exitCode == 80)
  }

  @Test func anErrorOfMPICarriesOperationRankAndText() throws {
    let outcome = try mpirun(2, ["truncate"])
    #expect(outcome.exitCode == 70)
    #expect(outcome.error.contains("on rank"))
    #expect(outcome.error.contains("MPI_ERR_TRUNCATE"), "\(outcome.error)")
  }

  @Test func aMessageToItselfIsCheckedToo() throws {
    let outcome = try mpirun(1, ["truncate"])
    #expect(outcome.exitCode == 70)
    #expect(outcome.error.contains("sends [5] floats and expects [3]"), "\(outcome.error)")
  }

  private struct Outcome {
    let exitCode: Int32
    let output: String
    let error: String
  }

  private func mpirun(_ ranks: Int, _ arguments: [String]) throws -> Outcome {
    // The build puts the probe beside the test bundle.
    let folder = try #require(CommandLine.arguments.first.map(URL.init(fileURLWithPath:)))
      .deletingLastPathComponent()
    let candidates = [folder, Bundle.main.bundleURL].map { $0.appending(path: "MessagingProbe") }
    let probe = try #require(
      candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) })
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments =
      ["mpirun", "--oversubscribe", "--bind-to", "none", "-np", String(ranks), probe.path]
      + arguments
    process.environment = ProcessInfo.processInfo.environment.merging(
      [
        "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_btl_vader_single_copy_mechanism": "none",
      ], uniquingKeysWith: { $1 })
    process.standardInput = FileHandle.nullDevice
    // Files, not pipes: a full pipe that nobody reads yet would stop mpirun.
    let stem = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString).path
    defer { for kind in [".out", ".err"] { unlink(stem + kind) } }
    for kind in [".out", ".err"] {
      try #require(FileManager.default.createFile(atPath: stem + kind, contents: nil))
    }
    let output: FileHandle = try #require(FileHandle(forWritingAtPath: stem + ".out"))
    let error: FileHandle = try #require(FileHandle(forWritingAtPath: stem + ".err"))
    process.standardOutput = output
    process.standardError = error
    try process.run()
    process.waitUntilExit()
    return Outcome(
      exitCode: process.terminationStatus,
      output: try String(contentsOfFile: stem + ".out", encoding: .utf8),
      error: try String(contentsOfFile: stem + ".err", encoding: .utf8))
  }
}
