import Core
import Foundation
import Supervision
import Testing
import Training

private let job = String(repeating: "0123abcd", count: 4)

@Suite struct SupervisorLeaseTests {
  private func withFolder(_ body: (String) throws -> Void) throws {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "lockstep-lease-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  @Test func oneSupervisorHoldsARun() throws {
    try withFolder { root in
      let first = try SupervisorLease(root: root)
      #expect(first.abandonedJob == nil)
      do throws(Failure) {
        _ = try SupervisorLease(root: root)
        Issue.record("two supervisors of one run")
      } catch {
        #expect(error.exitCode == .inputOutput)
        for word in ["pid \(getpid())", "host \(HostName.current)", "s ago"] {
          #expect(error.message.contains(word), "\(error.message)")
        }
      }
      first.release()
    }
  }

  @Test func whatADeadSupervisorLeftIsToBeEnded() throws {
    try withFolder { root in
      let job: String
      do { job = try SupervisorLease(root: root).job }
      let next = try SupervisorLease(root: root)
      #expect(next.abandonedJob == job && next.job != job)
      next.release()
      #expect(Lease(at: RunPaths(root: root).lease) == nil)
    }
  }

  /// A lease of another host, whose supervisor was killed a moment ago.
  private func leaveLease(in root: String) throws -> Lease {
    let path = RunPaths(root: root).lease
    var lease: Lease
    do {
      _ = try SupervisorLease(root: root)
      lease = try #require(Lease(at: path))
    }
    lease.host = "elsewhere"
    try Data(lease.bytes).write(to: URL(fileURLWithPath: path))
    return lease
  }

  @Test func aLockThatReachesAllHostsDecides() throws {
    try withFolder { root in
      let lease = try leaveLease(in: root)
      let next = try SupervisorLease(root: root, isLockWhole: true)
      #expect(next.abandonedJob == lease.job)
      next.release()
    }
  }

  @Test func withoutALockALeaseIsWaitedFor() throws {
    try withFolder { root in
      var lease = try leaveLease(in: root)
      #expect(
        try SupervisorLease(root: root, isLockWhole: false, staleSeconds: 0.2).abandonedJob
          == lease.job)

      // It gives another sign of life meanwhile.
      lease = try leaveLease(in: root)
      lease.beat += 1
      let bytes = lease.bytes
      Thread.detachNewThread {
        usleep(100_000)
        try? Data(bytes).write(to: URL(fileURLWithPath: RunPaths(root: root).lease))
      }
      #expect(throws: Failure.self) {
        try SupervisorLease(root: root, isLockWhole: false, staleSeconds: 10)
      }
    }
  }

  @Test func howFarALockReachesIsTheFileSystemsToSay() {
    let mounts = """
      22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
      30 22 0:40 / /home rw shared:2 - nfs4 server:/home rw,vers=4.2,local_lock=none
      31 22 0:41 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
      32 22 0:42 / /lustre rw - lustre mgs@tcp:/l rw,flock,lazystatfs
      33 22 0:43 / /scratch rw - lustre mgs@tcp:/s rw,localflock
      34 22 0:44 / /my\\040files rw - fuse.sshfs x rw
      35 22 0:45 / /cluster rw - gfs2 x rw
      36 22 0:46 / /apart rw - ocfs2 x rw,localflocks
      """
    let exports = "/srv/nfs\t10.0.0.0/24(rw,sync)\n/srv/more *(ro)\n"
    for (path, isWhole) in [
      ("/var/run", true), ("/home/me/run", true), ("/homes/run", true), ("/old/run", false),
      ("/lustre/run", true), ("/scratch/run", false), ("/my files/run", false),
      ("/cluster/run", true), ("/apart/run", false),
      // Clients of this host lock apart from it.
      ("/srv/nfs/run", false), ("/srv/more", false), ("/srv/nfsx/run", true),
    ] {
      let found = LockReach.isWhole(of: path, mounts: mounts, exports: exports)
      #expect(found == isWhole, "\(path)")
    }
    #expect(!LockReach.isWhole(of: "/x", mounts: "", exports: ""))
  }

  @Test func whoeverWasReplacedNotices() throws {
    try withFolder { root in
      let first = try SupervisorLease(root: root)
      var other = try #require(Lease(at: RunPaths(root: root).lease))
      other.job = job
      try Data(other.bytes).write(to: URL(fileURLWithPath: RunPaths(root: root).lease))
      #expect(!first.isFenced)
      first.set(incarnation: 4)
      #expect(first.isFenced)
      #expect(Lease(at: RunPaths(root: root).lease) == other)
    }
  }
}
