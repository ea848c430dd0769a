import Core
import Foundation
import Supervision
import Testing

@Suite struct HostTests {
  @Test func hostsAreReadFromTheCommandLine() throws {
    #expect(try texts(HostList.parse("a:2,b,me@c_1:4,a:3")) == ["a:5", "b:1", "me@c_1:4"])
    for text in [
      "", "a:", "a:0", "a:x", "-oProxyCommand=x:2", "a;b", "$(x)", "a b", "a:1:2", ",",
      "-l@a", "a@b@c", "@a", "x y@a",
    ] {
      #expect(throws: Failure.self) { try HostList.parse(text) }
    }
  }

  @Test func hostfilesAreRead() throws {
    let text = """
      # cluster
      node1 slots=4 # fast

      10.0.0.2 slots = 2 max_slots= 8
      me@node_3
      node4 max-slots=3 user=you
      node5
      node5

      """
    let expected = ["node1:4", "10.0.0.2:2", "me@node_3:cores", "you@node4:3", "node5:2"]
    for lineEnd in ["\n", "\r\n"] {
      let bytes = Array(text.replacing("\n", with: lineEnd).utf8)
      #expect(try texts(HostList.parse(hostfile: bytes, path: "hosts")) == expected)
    }
    for (text, line) in [
      ("node1\nnode2 cores=3\n", 2), ("node1\r\n\r\n+n0\r\n", 3), ("+e2 slots=2", 1),
      ("a\n^b\n", 2), ("a slots=0\n", 1), ("a slots=4 max_slots=2", 1), ("a b", 1),
      ("a\rb\r", 1), ("a slots=x", 1),
    ] {
      do throws(Failure) {
        _ = try HostList.parse(hostfile: Array(text.utf8), path: "hosts")
        Issue.record("taken: \(text)")
      } catch {
        #expect(error.exitCode == .badData && error.message.hasPrefix("hosts:\(line): "))
      }
    }
    #expect(throws: Failure.self) { try HostList.parse(hostfile: [], path: "hosts") }
  }

  private func texts(_ entries: [HostList.Entry]) -> [String] {
    entries.map { entry in
      (entry.login.map { $0 + "@" } ?? "") + entry.name + ":"
        + (entry.slots.map { "\($0)" } ?? "cores")
    }
  }

  @Test func filesOfOtherSchedulersAreRead() throws {
    #expect(
      try texts(HostList.parse(nodefile: Array("n1\nn1\nn2\n".utf8), path: "f")) == [
        "n1:2", "n2:1",
      ])
    #expect(
      try texts(
        HostList.parse(
          gridEngine: Array("n1.site 4 all.q@n1 UNDEFINED\nn2 2 all.q@n2 <NULL>\n".utf8), path: "f")
      )
        == ["n1.site:4", "n2:2"])
    #expect(throws: Failure.self) { try HostList.parse(nodefile: Array("n1 2\n".utf8), path: "f") }
    #expect(throws: Failure.self) { try HostList.parse(gridEngine: Array("n1\n".utf8), path: "f") }
  }

  @Test func whoNamedTheHostsIsSaid() throws {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "lockstep-hosts-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data("n1\nn1\n".utf8).write(to: URL(fileURLWithPath: path))
    let slurm = [
      "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "s[1-2]", "SLURM_TASKS_PER_NODE": "2(x2)",
    ]
    let job = SlurmJob(id: "7", isRunning: true, secondsLeft: nil)
    func find(
      _ environment: [String: String], host: String? = nil, job: SlurmJob? = nil
    ) throws -> HostSource? {
      try HostSource.find(host: host, hostfile: nil, environment: environment, job: job)
    }
    #expect(try find([:]) == nil)
    let inJob = try #require(try find(slurm, job: job))
    #expect(inJob.origin == "Slurm job 7" && inJob.isSlurms)
    #expect(texts(inJob.entries) == ["s1:2", "s2:2"])
    // Of a job that is over nothing counts.
    #expect(try find(slurm) == nil)
    #expect(try find(slurm, host: "a:1", job: job)?.origin == nil)
    for name in ["PBS_NODEFILE", "OMPI_MCA_orte_default_hostfile"] {
      let found = try #require(try find([name: path]))
      #expect(found.origin == "\(path) (\(name))" && texts(found.entries) == ["n1:2"])
    }
    #expect(try find(["OMPI_MCA_orte_default_hostfile": "none"]) == nil)
    #expect(throws: Failure.self) { try find(["PE_HOSTFILE": path]) }
    #expect(throws: Failure.self) { try find(["PBS_NODEFILE": path + "-gone"]) }
  }

  /// A few bytes may name any number of them.
  @Test(arguments: [
    ("n[0-65534],m[0-65534]", "1(x65535),1(x65535)"), ("n[0-65534,0-65534]", "1(x131070)"),
    ("n1", "1,1(x999999)"),
  ])
  func moreHostsThanAJobHasAreRefused(list: String, counts: String) {
    let failure = #expect(throws: Failure.self) {
      try SlurmAllocation.hosts(in: [
        "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": list, "SLURM_TASKS_PER_NODE": counts,
      ])
    }
    #expect(failure?.exitCode == .configuration)
  }

  @Test func blanksAroundAnEqualsSignDoNotCount() throws {
    for line in ["a slots=2", "a slots = 2", "a slots =2", "a  slots=\t2 "] {
      let text = Array((line + String(repeating: " ", count: 1 << 20) + "# b\n").utf8)
      #expect(texts(try HostList.parse(hostfile: text, path: "f")) == ["a:2"], "\(line)")
    }
    #expect(throws: Failure.self) {
      try HostList.parse(hostfile: Array("a = slots = 2\n".utf8), path: "f")
    }
  }

  @Test func coresThatNoHostHasAreNotTaken() throws {
    let path = FileManager.default.temporaryDirectory
      .appending(path: "lockstep-hosts-\(UUID().uuidString)").path
    defer { try? FileManager.default.removeItem(atPath: path) }
    try Data("n1\n".utf8).write(to: URL(fileURLWithPath: path))
    for (said, expected) in [("65536", 65_536), ("65537", nil), ("\(Int.max)", nil), ("0", nil)] {
      let source = try #require(
        try HostSource.find(host: nil, hostfile: path, environment: [:], job: nil))
      var found: Int?
      do throws(Failure) {
        found = try source.resolved(
          agent: .shell(["/bin/sh", "-c", "echo \(said)"]), program: "x", environment: [:],
          withinSeconds: 30, guess: nil
        ).first?.slots
      } catch {
        #expect(error.exitCode == .unavailable && error.message.contains("no number from 1"))
      }
      #expect(found == expected, "\(said)")
    }
  }

  @Test func insideAStepTheJobsCountsAreTaken() throws {
    var step = [
      "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_TASKS_PER_NODE": "1",
      "SLURM_STEP_NUM_TASKS": "1", "SLURM_JOB_CPUS_PER_NODE": "4(x2)",
    ]
    #expect(try SlurmAllocation.hosts(in: step)?.map(\.slots) == [4, 4])
    step["SLURM_CPUS_PER_TASK"] = "2"
    #expect(try SlurmAllocation.hosts(in: step)?.map(\.slots) == [2, 2])
    step["SLURM_NTASKS_PER_NODE"] = "3"
    #expect(try SlurmAllocation.hosts(in: step)?.map(\.slots) == [3, 3])
    let whole = ["SLURM_JOB_CPUS_PER_NODE": "16"]
    #expect(SlurmAllocation.idleProcessors(whole, ranks: 1)?.contains("16 processors") == true)
    #expect(SlurmAllocation.idleProcessors(whole, ranks: 16) == nil)
    #expect(SlurmAllocation.idleProcessors([:], ranks: 1) == nil)
  }

  @Test func aNameHasTheNumbersOfItsJob() throws {
    let array = [
      "SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2",
    ]
    for (text, expected) in [
      ("runs/%A-%a", "runs/7-2"), ("%j", "9"), ("50%%a", "50%a"), ("a%b%", "a%b%"), ("", ""),
    ] {
      #expect(try JobText.expanded(text, environment: array) == expected)
      #expect(try JobText.expanded(text, environment: [:]) == text)
    }
    #expect(throws: Failure.self) {
      try JobText.expanded("runs/%a", environment: ["SLURM_JOB_ID": "9"])
    }
  }

  @Test func thisMachineIsKnownByEveryName() {
    let current = HostName.current
    let own = ["localhost", "127.0.0.1", current, current + ".cluster"]
    #expect(own.filter { !JobHost(name: $0, slots: 1).isLocal } == [])
    let others = ["192.0.2.1", current + "x", "x" + current, "127.0.0", current + "-2.cluster"]
    #expect(others.filter { JobHost(name: $0, slots: 1).isLocal } == [])
    #expect(HostName.areOne("n1.a", "n1") && HostName.areOne("n1", "n1.a"))
    #expect(!HostName.areOne("n1.a", "n1.b") && !HostName.areOne("n1", "n11"))
  }

  @Test func slurmsListsAreExpanded() throws {
    let hosts = try SlurmAllocation.hosts(in: [
      "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[08-10,2],login,r[1-2]s[0,5]",
      "SLURM_TASKS_PER_NODE": "2(x3),1,4(x5)",
    ])
    #expect(
      hosts?.map(\.name) == ["n08", "n09", "n10", "n2", "login", "r1s0", "r1s5", "r2s0", "r2s5"])
    #expect(hosts?.map(\.slots) == [2, 2, 2, 1, 4, 4, 4, 4, 4])
    #expect(try SlurmAllocation.hosts(in: [:]) == nil)
    let total = try SlurmAllocation.hosts(in: [
      "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a,b", "SLURM_NTASKS": "5",
    ])
    #expect(total?.map(\.slots) == [3, 2])
    for list in ["n[3-1]", "n[1", "n[x]", "-a", "n[0-99999999]"] {
      #expect(throws: Failure.self) {
        try SlurmAllocation.hosts(in: ["SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": list])
      }
    }
  }
}
