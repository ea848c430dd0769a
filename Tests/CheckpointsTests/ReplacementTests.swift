import Checkpoints
import Core
import Foundation
import Testing

/// A step is saved again, and the system calls that put the new checkpoint in the place of the old
/// one fail or are the last ones.
@Suite(.serialized) struct ReplacementTests {
  private static func inode(_ path: String) -> UInt? {
    var status = stat()
    return stat(path, &status) == 0 ? UInt(status.st_ino) : nil
  }

  /// Lets `body` have a folder with steps 1 and 2, and a function that saves under faults.
  private static func withTwoSteps(
    _ body: (_ folder: String, _ save: (String, [String]) throws -> Probe.Ending) throws -> Void
  ) throws {
    let probe = try #require(Probe.folder) + "/CheckpointProbe"
    try withTemporaryFolder { folder in
      let place = folder + "/checkpoints"
      #expect(try Probe.run([probe, place, "1", "2"]).status == 0)
      try body(place) { step, faults in
        let tracer = ["strace", "-f", "-qq", "-o", folder + "/log", "-e", "signal=none"]
        let options = faults.flatMap { ["-e", "inject=" + $0] }
        return try Probe.run((faults.isEmpty ? [] : tracer + options) + [probe, place, step])
      }
    }
  }

  @Test(.enabled(if: Probe.canTrace, "SKIPPED: needs strace and the right to trace"))
  func whatIsReplacedIsNotRemovedBeforeTheExchangeIsDurable() throws {
    var failedAfterTheExchange = 0
    for number in 1...8 {
      try Self.withTwoSteps { folder, save in
        let store = CheckpointStore(folder: folder)
        let step = store.path(ofStep: 2)
        let before = try #require(Self.inode(step))
        let ending = try save("2", ["fsync:error=EIO:when=\(number)"])
        let remark: Comment = "fsync \(number): \(ending)"
        #expect(try store.newestVerified { _ in }?.header.step == 2, remark)
        if ending.status != 0, Self.inode(step) != before {
          failedAfterTheExchange += 1
          #expect(Self.inode(step + ".replaced-by-lockstep") == before, remark)
        }
        #expect(try save("2", []).status == 0, remark)
        #expect(
          try FileSystem.names(in: folder) == ["step-000000001", "step-000000002"], remark)
      }
    }
    #expect(failedAfterTheExchange == 1)
  }

  @Test(.enabled(if: Probe.canTrace, "SKIPPED: needs strace and the right to trace"))
  func withoutAnExchangeAWriterThatIsKilledLosesNothing() throws {
    var killed = 0
    for number in 1...5 {
      try Self.withTwoSteps { folder, save in
        let store = CheckpointStore(folder: folder)
        let ending = try save(
          "2", ["renameat2:error=EINVAL", "rename:signal=KILL:when=\(number)"])
        let remark: Comment = "rename \(number): \(ending)"
        killed += ending.status == 128 + SIGKILL ? 1 : 0
        #expect(try store.newestVerified { _ in } != nil, remark)
        #expect(try save("3", []).status == 0, remark)
        #expect(try store.steps == [2, 3], remark)
        #expect(try Checkpoint(folder: store.path(ofStep: 2)).header.step == 2, remark)
        #expect(
          try FileSystem.names(in: folder) == ["step-000000002", "step-000000003"], remark)
      }
    }
    #expect(killed == 3)
  }
}
