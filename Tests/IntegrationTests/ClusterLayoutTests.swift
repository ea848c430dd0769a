import Core
import Foundation
import Testing

/// Training across hosts that share files and nothing else.
@Suite(.serialized) struct ClusterLayoutTests {
  /// What a cluster with nothing to do ends with: 0, or 77 where namespaces are not permitted.
  private static let isPermitted: Bool = {
    guard let scratch = try? Scratch(),
      let outcome = try? Job(
        Program.Launch.cluster("1").prefix + ["true"], in: scratch
      ).outcome()
    else { return true }
    FileHandle.standardError.write(Data(outcome.error.utf8))
    return outcome.exitCode != 77
  }()

  private static let layouts = [
    Layout(replicas: 4, hosts: "2,1,1"),
    Layout(replicas: 2, stages: 2, hosts: "2,1,1"),
    Layout(replicas: 4, hosts: "1,3"),
    Layout(stages: 4, schedule: "gpipe", hosts: "1,3"),
    Layout(replicas: 2, hosts: "1,1"),
    Layout(stages: 2, schedule: "interleaved", chunks: 3, hosts: "1,1"),
  ]

  @Test(.enabled(if: isPermitted, "SKIPPED: network namespaces are not permitted here"))
  func noDistributionOverHostsChangesABit() throws {
    let scratch = try Scratch()
    let settings = TinyRun.cuttable + ["batch.micro_batches=2"]
    let alone = try TinyRun(settings, name: "alone", in: scratch).finish()
    for layout in Self.layouts {
      let run = try TinyRun(settings + layout.overrides, name: layout.name, in: scratch)
      #expect(try run.finish(layout.launch).differences(from: alone) == [], "\(layout.name)")
    }
    #expect(scratch.processes == [])
  }

  /// Those ranks alone find out; all must learn of it, or the others wait for ever.
  @Test(.enabled(if: isPermitted, "SKIPPED: network namespaces are not permitted here"))
  func aHostWithoutRoomForItsWindowsEndsTheJobWithTheReason() throws {
    let scratch = try Scratch()
    let folder = scratch.path + "/windows"
    try FileSystem.createFolder(folder)
    let mounted = try Job(
      ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], in: scratch
    ).outcome()
    try #require(mounted.exitCode == 0, "\(mounted.error)")
    defer { _ = try? Job(["umount", "--lazy", folder], in: scratch).outcome() }
    let prefix = Program.Launch.cluster("1,2").prefix
    let setting = "OMPI_MCA_osc_sm_backing_directory=\(folder)"
    let onSecondHost = [
      "sh", "-c", "[ $(hostname) = host0 ] || export \(setting); exec \"$@\"", "sh",
    ]
    let program = try TinyRun(in: scratch).command(.cluster("1,2")).dropFirst(prefix.count)
    let outcome = try Job(prefix + onSecondHost + program, in: scratch).outcome()
    #expect(outcome.exitCode == ExitCode.cannotCreate.rawValue, "\(outcome.error)")
    let reasons = outcome.errorLines.filter { $0.hasPrefix("lockstep: ") }
    #expect(reasons.count == 1 && reasons[0].contains("\(folder) on host1"), "\(outcome.error)")
  }

  /// From hosts to hosts, and back to one rank.
  @Test(.enabled(if: isPermitted, "SKIPPED: network namespaces are not permitted here"))
  func aCheckpointTravelsBetweenClusters() throws {
    let scratch = try Scratch()
    let alone = try TinyRun(TinyRun.cuttable, name: "alone", in: scratch).finish()
    let layouts = [
      Layout(stages: 2, hosts: "1,1"), Layout(replicas: 2, stages: 2, hosts: "2,1,1"), Layout(),
      Layout(replicas: 4, hosts: "1,3"),
    ]
    for (index, layout) in layouts.enumerated() {
      let run = try TinyRun(
        TinyRun.cuttable + layout.overrides, steps: 5 * (index + 1), in: scratch)
      try run.finish(layout.launch)
    }
    #expect(try RunResult(run: scratch.path + "/run").differences(from: alone) == [])
  }
}
