import Core
import Foundation
import Testing

/// Control groups as files in a folder, with the kernel's texts.
@Suite struct MemoryGroupTests {
  private static let version1 = """
    9:name=systemd:/system.slice/slurmd.service
    5:memory,hugetlb:/slurm/uid_1000/job_7/step_batch
    4:cpuset:/slurm/uid_1000/job_7/step_batch
    0::/system.slice/slurmd.service
    """
  private static let version2 = "0::/system.slice/slurmstepd.scope/job_7/step_batch/user\n"
  private static let unlimited = "9223372036854771712\n"

  private func withGroups(
    _ files: [String: String], _ body: (_ mounts: String, _ root: String) throws -> Void
  ) throws {
    let root = FileManager.default.temporaryDirectory
      .appending(path: "lockstep-groups-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: root) }
    for (path, text) in files {
      let file = URL(fileURLWithPath: "\(root)/\(path)")
      try FileManager.default.createDirectory(
        at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
      try Data(text.utf8).write(to: file)
    }
    let mounts = """
      22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
      33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset
      35 31 0:32 / \(root)/memory rw,relatime shared:9 - cgroup cgroup rw,memory,hugetlb
      41 31 0:38 / \(root)/unified rw - cgroup2 cgroup2 rw
      """
    try body(mounts, root)
  }

  private func control(_ kills: Int) -> String {
    "oom_kill_disable 0\nunder_oom 0\noom_kill \(kills)\n"
  }

  private func events(_ kills: Int) -> String {
    "low 0\nhigh 0\nmax 12\noom 3\noom_kill \(kills)\noom_group_kill 0\n"
  }

  @Test func version1IsLimitedByTheSmallestAndCountsEachGroupForItself() throws {
    let job = "memory/slurm/uid_1000/job_7"
    try withGroups([
      "memory/memory.limit_in_bytes": Self.unlimited, "memory/memory.oom_control": control(100),
      "memory/slurm/uid_1000/memory.limit_in_bytes": Self.unlimited,
      "memory/slurm/uid_1000/memory.oom_control": control(50),
      "\(job)/memory.limit_in_bytes": "83886080\n", "\(job)/memory.oom_control": control(1),
      "\(job)/step_batch/memory.limit_in_bytes": "90000000\n",
      "\(job)/step_batch/memory.oom_control": control(2),
      "\(job)/step_0/memory.oom_control": control(4),
      "\(job)/step_0/task_1/memory.oom_control": control(8),
      "memory/slurm/uid_1000/job_8/memory.oom_control": control(30),
    ]) { mounts, root in
      let group = try #require(MemoryGroup(membership: Self.version1, mounts: mounts))
      #expect(group.folders.first == "\(root)/\(job)/step_batch")
      #expect(group.folders.last == "\(root)/memory" && group.folders.count == 5)
      #expect(group.byteLimit == 83_886_080)
      #expect(group.killCount == 15)

      // Without a job of Slurm only the own group is known to be ours.
      let own = try #require(
        MemoryGroup(membership: "4:memory:/slurm/uid_1000", mounts: mounts))
      #expect(own.killCount == 50)
      #expect(own.byteLimit == Int(Self.unlimited.dropLast()))
    }
  }

  @Test func version2CountsWhatHappenedBelow() throws {
    let job = "unified/system.slice/slurmstepd.scope/job_7"
    try withGroups([
      "\(job)/memory.max": "80000000\n", "\(job)/memory.events": events(3),
      "\(job)/step_batch/memory.max": "max\n", "\(job)/step_batch/memory.events": events(1),
      "\(job)/step_batch/user/memory.max": "max\n",
      "\(job)/step_batch/user/memory.events": events(1),
      "unified/system.slice/slurmstepd.scope/memory.max": "max\n",
      "unified/system.slice/slurmstepd.scope/memory.events": events(77),
    ]) { mounts, _ in
      let group = try #require(MemoryGroup(membership: Self.version2, mounts: mounts))
      #expect(group.byteLimit == 80_000_000)
      #expect(group.killCount == 3)
      // The controller is off for the own group, which then counts for the one above.
      let other = try #require(
        MemoryGroup(
          membership: "0::/system.slice/slurmstepd.scope/extern\n", mounts: mounts))
      #expect(other.killCount == 77 && other.byteLimit == nil)
      // The root of all groups has neither.
      let root = try #require(MemoryGroup(membership: "0::/\n", mounts: mounts))
      #expect(root.killCount == nil && root.byteLimit == nil)
    }
  }

  @Test func aContainersRootNeedNotBeTheRoot() throws {
    let mounts =
      "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
    func folders(_ path: String) -> [String]? {
      MemoryGroup(membership: "4:memory:\(path)\n", mounts: mounts)?.folders
    }
    let root = "/sys/fs/cgroup/memory"
    #expect(folders("/docker/abc") == [root])
    #expect(folders("/docker/abc/job") == [root + "/job", root])
    #expect(folders("/docker/abcd") == [root] && folders("/../x") == [root])
    for (membership, mounts) in [
      ("", mounts), ("0::/x", mounts), ("4:memory:/x", ""), ("4:cpuset:/x\nnonsense", mounts),
    ] {
      #expect(MemoryGroup(membership: membership, mounts: mounts) == nil)
    }
  }

  @Test func theLimitIsTheJobsWhereItIsBelowWhatTheMachineHas() {
    let statistics = "MemTotal:       24689568 kB\nMemFree:        1 kB\n"
    let all = MemoryLimit(byteCount: 24_689_568 << 10, owner: .machine)
    #expect(MemoryLimit(group: nil, statistics: statistics) == all)
    #expect(MemoryLimit(group: Int.max, statistics: statistics) == all)
    let limit = MemoryLimit(byteCount: 83_886_080, owner: .job)
    #expect(MemoryLimit(group: 83_886_080, statistics: statistics) == limit)
    #expect(MemoryLimit(group: 83_886_080, statistics: "") == limit)
    #expect(MemoryLimit(group: nil, statistics: "MemTotal: many kB\n") == nil)
    #expect(MemoryLimit(group: Int.max, statistics: "") == nil)
    #expect((MemoryLimit.own()?.byteCount ?? 0) > 1 << 20)
  }

  @Test func killsAreCounted() {
    #expect(MemoryGroup.kills(in: "nr_free_pages 7\noom_kill 3\noom_kill_x 4\n") == 3)
    #expect(MemoryGroup.kills(in: events(5)) == 5 && MemoryGroup.kills(in: control(6)) == 6)
    #expect(MemoryGroup.kills(in: "nr_free_pages 7\n") == nil && MemoryGroup.kills(in: "") == nil)
  }
}
