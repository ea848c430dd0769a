import Core
import Supervision
import Testing

@Suite struct HostTests {
  @Test func hostsAreReadFromTheCommandLine() throws {
    #expect(
      try HostList.parse("a:2,b,a:3") == [
        JobHost(name: "a", slots: 5), JobHost(name: "b", slots: 1),
      ])
    for text in ["", "a:", "a:0", "a:x", "-oProxyCommand=x:2", "a;b", "$(x)", "a b", "a:1:2", ","] {
      #expect(throws: Failure.self) { try HostList.parse(text) }
    }
  }

  @Test func hostfilesAreRead() throws {
    let text = "# cluster\nnode1 slots=4 # fast\n\n10.0.0.2 slots=2 max_slots=8\nnode3\n"
    #expect(
      try HostList.parse(hostfile: text, path: "hosts") == [
        JobHost(name: "node1", slots: 4), JobHost(name: "10.0.0.2", slots: 2),
        JobHost(name: "node3", slots: 1),
      ])
    do throws(Failure) {
      _ = try HostList.parse(hostfile: "node1\nnode2 cores=3\n", path: "hosts")
      Issue.record("an unknown word was taken")
    } catch {
      #expect(error.exitCode == .badData && error.message.hasPrefix("hosts:2: "))
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
