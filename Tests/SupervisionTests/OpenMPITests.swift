import Core
import Supervision
import Testing
import Training

/// What depends on the version of OpenMPI; the texts are OpenMPI 5.0.7's, as it said them.
@Suite struct OpenMPITests {
  private static let own = JobHost(name: HostName.current, slots: 1)
  private static let number = String(repeating: "0123abcd", count: 4)
  private static let dashes = String(repeating: "-", count: 74)

  @Test func theVersionIsOnTheFirstLine() {
    let help = "\n\nReport bugs to https://www.open-mpi.org/community/help/\n"
    for (text, major) in [
      ("mpirun (Open MPI) 4.1.4", 4), ("mpirun (Open MPI) 5.0.7", 5),
      ("mpirun (Open MPI) 5.0.0rc12", 5), ("mpirun (Open MPI) 10.1.0", 10),
      ("HYDRA build details:\n    Version:   4.0.2", nil),
      ("Intel(R) MPI Library for Linux* OS, Version 2021.5 Build 20211102", nil), ("", nil),
    ] {
      #expect(OpenMPIVersion(text + help)?.major == major, "\(text)")
    }
  }

  @Test func whatIsNoOpenMPIIsRefused() throws {
    do throws(Failure) {
      _ = try OpenMPIVersion.of(mpirun: "/bin/echo", environment: [:])
      Issue.record("echo is an mpirun")
    } catch {
      #expect(error.exitCode == .unavailable)
      #expect(error.message.contains("/bin/echo") && error.message.contains("found 'echo"))
    }
  }

  private func job(_ hosts: [JobHost], version: Int) -> LaunchLine.Job {
    LaunchLine.Job(
      launcher: Launcher(.mpirun, path: "/bin/mpirun", version: OpenMPIVersion(major: version)),
      program: ["/opt/lockstep", "train"], hosts: hosts, namedSlots: 3,
      agent: .shell(["/usr/bin/ssh", "-v"]), temporaryFolder: "/tmp/x",
      sharedMemoryFolder: "/dev/shm/x", environment: [:], isRoot: false, cores: 2, processors: 2,
      terminal: [:])
  }

  private func words(_ hosts: [JobHost], version: Int) -> [String] {
    let launch = SupervisedLaunch(
      job: Self.number, incarnation: 3, leasePath: "/run/lease")
    let job = job(hosts, version: version)
    return LaunchLine(job, plan: LaunchPlan(ranksByHost: job.hosts.map(\.slots)), launch: launch)
      .arguments
  }

  /// The two words after each `--mca` or its like.
  private func parameters(_ option: String, of words: [String]) -> [String: String] {
    var result: [String: String] = [:]
    for place in words.indices where words[place] == option {
      result[words[place + 1]] = words[place + 2]
    }
    return result
  }

  @Test func parametersGoByTheVersionsNames() {
    let hosts = [JobHost(name: "a", slots: 4)]
    let old = words(hosts, version: 4)
    let oldParameters = parameters("--mca", of: old)
    #expect(oldParameters["plm_rsh_agent"] == "/usr/bin/ssh -v")
    #expect(oldParameters["odls_base_sigkill_timeout"] == "0")
    #expect(oldParameters["orte_startup_timeout"] != nil)
    #expect(oldParameters["lockstep_job"] == Self.number)
    #expect(old.contains("--oversubscribe") && !old.contains("--prtemca"))

    let new = words(hosts, version: 5)
    let newParameters = parameters("--prtemca", of: new)
    #expect(newParameters["plm_ssh_agent"] == "/usr/bin/ssh -v")
    #expect(newParameters["lockstep_job"] == Self.number)
    #expect(newParameters["oob_tcp_keepalive_time"] == oldParameters["oob_tcp_keepalive_time"])
    #expect(Set(newParameters.keys).isDisjoint(with: parameters("--mca", of: new).keys))
    #expect(parameters("--mca", of: new)["mpi_yield_when_idle"] == "1")
    #expect(new.contains("slot:OVERSUBSCRIBE") && !new.contains("--oversubscribe"))
    for gone in ["orte_startup_timeout", "odls_base_sigkill_timeout"] {
      #expect(!new.contains(gone))
    }
  }

  @Test func aVersionThatDoesNotKnowItsOwnAddressIsGivenItsName() {
    let hosts = [JobHost(name: "127.0.0.1", slots: 2), JobHost(name: "a", slots: 1)]
    #expect(words(hosts, version: 4).contains("127.0.0.1:2,a:1"))
    #expect(words(hosts, version: 5).contains("localhost:2,a:1"))
  }

  /// As mpirun does, wherever its own host stands in the list.
  @Test func ranksAreCountedFromThisHostOn() {
    let others = ["a", "b"].map { JobHost(name: $0, slots: 1) }
    let hosts = [others[0], Self.own, others[1]]
    for version in [4, 5] {
      #expect(job(hosts, version: version).hosts == [Self.own] + others)
    }
  }

  // MARK: - Words

  @Test func aNoticeThatBreaksInTheMiddleOfASentenceIsOne() {
    var words = LauncherWords()
    let first = "prterun noticed that process rank 1 with PID 24 on node host1 exited on"
    // With the zero that ends it.
    let notice = "\(Self.dashes)\n\(first)\nsignal 9 (Killed).\n\(Self.dashes)\n\0"
    let lines = words.take(Array((notice + "lockstep: hello\n").utf8))
    let whole = first + " signal 9 (Killed)."
    #expect(
      lines == [
        .launcher(Self.dashes), .launcher(whole), .launcher(Self.dashes), .rank("lockstep: hello"),
      ])
    let ended = LauncherWords.endedRank(whole)
    #expect(ended?.rank == 1 && ended?.signal == 9)

    // It may end in the middle; a rank may say the same.
    #expect(words.take(Array("\(first)\nme too\n".utf8)) == [.rank(first), .rank("me too")])
    let torn = words.take(Array("\(Self.dashes)\n\(first)\n".utf8)) + words.take([], isEnd: true)
    #expect(torn == [.launcher(Self.dashes), .launcher(first)])
  }

  @Test func aLostHostIsToldByNameAndByItsDaemon() {
    let lines = """
      PRTE has lost communication with a remote daemon.

        HNP daemon   : [prterun-host0-4@0,0] on node host0
        Remote daemon: [prterun-host0-4@0,1] on node host1
      """
    let lost = lines.split(separator: "\n").compactMap { LauncherWords.lostHost(String($0)) }
    #expect(lost.map(\.name) == ["host1"] && lost.map(\.daemon) == [1])
    #expect(
      LauncherWords.lostHost("  Remote daemon: [[18540,0],12] on node 10.0.0.2")?.daemon == 12)
    for line in ["Remote daemon: on node a", "  Remote daemon: [x@0,y] on node a", "Remote daemon"]
    {
      #expect(LauncherWords.lostHost(line) == nil)
    }
  }

  /// A host says its own name, which need not be the one in the list.
  @Test func aHostOfAnotherNameIsKnownByItsDaemon() {
    let addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map { JobHost(name: $0, slots: 1) }
    for (daemon, host) in [(1, 1), (2, 3), (3, nil), (0, nil)] {
      var bench = SupervisorBench([Self.own] + addresses, ranks: 3, minimumRanks: 3)
      _ = bench.begin()
      // The second of the others is left out, so mpirun has no daemon there.
      _ = bench.reaped(without: [2])
      bench.train(3, ranks: 3)
      _ = bench.take(.hostLost(name: "node7", daemon: daemon))
      let deaths = bench.exit(.exit(0)).compactMap { action -> Death? in
        if case .record(.death(let death)) = action { death } else { nil }
      }
      #expect(deaths.map(\.host) == [host], "daemon \(daemon)")
    }
  }
}
