import Checkpoints
import Core
import Foundation
import Layers
import Tensors
import Testing

@Suite struct InterruptedSaveTests {
  private static func run(_ command: [String]) -> Bool {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.standardError = FileHandle.nullDevice
    guard (try? process.run()) != nil else { return false }
    process.waitUntilExit()
    return process.terminationStatus == 0
  }

  private static func mount(_ folder: String, kibibytes: Int) -> Bool {
    run(["mount", "-t", "tmpfs", "-o", "size=\(kibibytes)k", "tmpfs", folder])
  }

  private static func unmount(_ folder: String) { _ = run(["umount", folder]) }

  /// Small disks can be mounted by root where the container lets it.
  private static let canMount: Bool = {
    var mounted = false
    try? withTemporaryFolder { folder in
      mounted = mount(folder, kibibytes: 64)
      if mounted { unmount(folder) }
    }
    return mounted
  }()

  private static func layout() -> ParameterLayout {
    var layout = tinyLayout()
    layout.append("decoder/large", [100, 111], .constant(0))
    return layout
  }

  @Test(.enabled(if: canMount, "SKIPPED: needs the right to mount a small tmpfs"))
  func aFullDiskFailsTheSaveAndHarmsNothingSaved() throws {
    try withTemporaryFolder { folder in
      try #require(Self.mount(folder, kibibytes: 1024))
      defer { Self.unmount(folder) }
      let (layout, store) = (Self.layout(), CheckpointStore(folder: folder + "/checkpoints"))
      _ = try store.save(tinyHeader(step: 1), layout: layout, from: KnownState())
      var outcomes = Set<String>()
      // From no room at all to enough, in steps of a page.
      for freeKibibytes in stride(from: 0, through: 400, by: 4) {
        let filler = folder + "/filler"
        let free = try #require(FileSystem.freeByteCount(at: folder))
        try FileSystem.writeAtomically(
          [UInt8](repeating: 1, count: max(0, free - freeKibibytes << 10)), to: filler)
        let found = failure {
          _ = try store.save(tinyHeader(step: 2), layout: layout, from: KnownState(salt: 9))
        }
        if let found {
          outcomes.insert("failed")
          #expect(found.exitCode == .inputOutput || found.exitCode == .cannotCreate)
          #expect(found.message.contains("No space left on device"), "\(found.message)")
          #expect(try store.steps == [1])
          #expect(try FileSystem.names(in: folder + "/checkpoints") == ["step-000000001"])
        } else {
          outcomes.insert("saved")
          #expect(try Checkpoint(folder: store.path(ofStep: 2)).header.step == 2)
          try FileSystem.remove(store.path(ofStep: 2))
        }
        #expect(try store.newestVerified { _ in }?.header.step == 1)
        try FileSystem.remove(filler)
      }
      #expect(outcomes == ["failed", "saved"])
    }
  }

  /// In a child, because the limit is the process's.
  @Test func aLimitOnFileSizesFailsTheSaveAndTheNextOneWorks() async {
    await #expect(processExitsWith: .success) {
      try withTemporaryFolder { folder in
        let store = CheckpointStore(folder: folder)
        let header = tinyHeader(step: 1)
        _ = try store.save(header, layout: tinyLayout(), from: KnownState())
        signal(SIGXFSZ, SIG_IGN)
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        let unlimited = limit
        limit.rlim_cur = 16 << 10
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        var layout = tinyLayout()
        layout.append("large", [10_000], .constant(0))
        let found = failure {
          _ = try store.save(tinyHeader(step: 2), layout: layout, from: KnownState())
        }
        try #require(found?.exitCode == .inputOutput)
        try #require(found?.message.contains("File too large") == true)
        try #require(try FileSystem.names(in: folder) == ["step-000000001"])
        limit = unlimited
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
        _ = try store.save(tinyHeader(step: 2), layout: layout, from: KnownState())
        try #require(try store.newestVerified { _ in }?.header.step == 2)
      }
    }
  }

  /// A source that kills its process at a chosen pull.
  private struct Killer: StateSource {
    let vector: StateVector

    func read(
      _ range: Range<Int>, of vector: StateVector, into destination: Vector
    ) throws(Failure) {
      destination.fill(2)
      if vector == self.vector { kill(getpid(), SIGKILL) }
    }
  }

  @Test func aKilledWriterHarmsNothingSaved() async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "checkpoints-tests-\(UUID().uuidString)"
    ).path
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let store = CheckpointStore(folder: folder)
    _ = try store.save(tinyHeader(step: 1), layout: tinyLayout(), from: KnownState())
    await #expect(processExitsWith: .signal(SIGKILL)) { [folder = folder as String] in
      _ = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 2), layout: tinyLayout(), from: Killer(vector: .secondMoment))
    }
    #expect(try FileSystem.names(in: folder) == [".tmp-step-000000002-launch-1", "step-000000001"])
    #expect(try store.newestVerified { _ in }?.header.step == 1)
    _ = try store.save(tinyHeader(step: 2), layout: tinyLayout(), from: KnownState())
    #expect(try FileSystem.names(in: folder) == ["step-000000001", "step-000000002"])
  }
}
