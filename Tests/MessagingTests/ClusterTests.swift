import Testing

/// Hosts joined by a network, as far as MPI can tell.
@Suite(
  .serialized,
  .enabled(if: Probe.isClusterPermitted, "network namespaces are not permitted here"))
struct ClusterTests {
  @Test(arguments: ["2,1,1", "1,1", "1,3"]) func everyHostIsANode(layout: String) throws {
    let outcome = try Probe.cluster(layout: layout, ["layout"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output == "layout \(layout)\n")
  }

  @Test(arguments: [[], ["--map-by", "node"]], ["2,1,1", "1,3"])
  func everyOperationGivesWhatItMust(options: [String], layout: String) throws {
    let outcome = try Probe.cluster(options, layout: layout, ["check", "997"])
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.split(separator: "\n").count == 4)
  }

  @Test func differentCallsAreNamedOnWhateverHost() throws {
    let outcome = try Probe.cluster(
      layout: "1,2", ["different", "nodeBarrier", "agree"], environment: ["LOCKSTEP_CHECK": "1"])
    #expect(outcome.exitCode == 76)
    #expect(
      outcome.error.contains("rank 1 calls agree, rank 0 calls nodeBarrier"), "\(outcome.error)")
  }

  @Test func anAbortingRankTakesTheOtherHostsDown() throws {
    #expect(try Probe.cluster(layout: "1,1,1", ["abort"]).exitCode == 80)
  }

  @Test func aCutLinkEndsTheJob() throws {
    let keepAlive = ["time", "intvl", "probes"].flatMap {
      ["--mca", "oob_tcp_keepalive_\($0)", "1"]
    }
    let outcome = try Probe.cluster(
      ["--cut", "1:1"] + keepAlive, layout: "1,1", ["loop", "100"])
    // 1 where a slow machine had not begun the job when the link went.
    #expect([205, 1].contains(outcome.exitCode), "\(outcome.error)")
  }

  @Test func aWrongLayoutIsAUsageError() throws {
    #expect(try Probe.cluster(layout: "2,x", ["layout"]).exitCode == 64)
  }
}
