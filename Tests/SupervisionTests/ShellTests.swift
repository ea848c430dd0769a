import Core
import Foundation
import Supervision
import Testing
import Training

private let job = String(repeating: "0123abcd", count: 4)

@Suite struct HeartbeatStreamTests {
  private func frame(_ ranks: [ClosedRange<Int>], _ sequence: Int, age: Int = 0) -> HeartbeatFrame {
    var reading = StepBeacon.Reading()
    reading.step = 7 * sequence
    reading.work = 3
    reading.activity = .saving
    return HeartbeatFrame(
      incarnation: 2, ranks: ranks, sequence: sequence, ageMilliseconds: age, reading: reading)
  }

  private func heard(_ bytes: [UInt8]) -> (beats: [Heartbeat], malformed: Int) {
    var stream = HeartbeatStream(job: job)
    var heard: [Heartbeat] = []
    _ = stream.take(bytes) { heard.append($0) }
    return (heard, stream.malformedCount)
  }

  /// However the bytes are cut, beats and text come out whole.
  @Test func beatsAndTextAreToldApart() {
    let frames = [
      frame([0...0], 1), frame([0...3, 5...5, 64...127], 2, age: 130), frame([2...2], 3),
    ]
    let beats = frames.flatMap(\.heartbeats)
    #expect(beats.map(\.rank) == [0] + Array(0...3) + [5] + Array(64...127) + [2])
    #expect(beats[1].ageSeconds == 0.13)
    var bytes = Array("first\n".utf8)
    for frame in frames { bytes += frame.line(job: job) + Array("text\n\n".utf8) }
    for size in 1...bytes.count {
      var stream = HeartbeatStream(job: job)
      var heard: [Heartbeat] = []
      var text: [UInt8] = []
      for start in stride(from: 0, to: bytes.count, by: size) {
        text += stream.take(bytes[start..<min(start + size, bytes.count)]) { heard.append($0) }
      }
      #expect(heard == beats)
      #expect(String(decoding: text, as: UTF8.self) == "first\ntext\n\ntext\n\ntext\n\n")
      #expect(stream.malformedCount == 0)
    }
  }

  @Test func whatIsNoBeatOfThisJobIsNone() {
    let whole = frame([1...2, 4...4], 1)
    let line = whole.line(job: job)
    var strays = [whole.line(job: String(repeating: "f", count: 32))]
    strays.append([HeartbeatFrame.start] + Array(repeating: 0x41, count: 9999))
    for place in 1..<line.count - 2 {
      var changed = line
      changed[place] ^= 0x80
      strays.append(changed)
      strays.append(Array(line[..<place]) + line)
    }
    for stray in strays {
      let (beats, malformed) = heard(stray)
      #expect(beats == [] || beats == whole.heartbeats)
      #expect(malformed > 0 || stray.count > 9999)
    }
  }

  /// A torn one must not name millions, nor a rank twice.
  @Test(arguments: [
    "", "-", "1-", "-1", "2-1", "1,1", "3,1-2", "0-1024", "0-9223372036854775807", "0-600,700-1200",
    "1,,2",
    "a", "1 2",
  ])
  func ranksThatCannotBeAreNone(ranks: String) {
    let line = String(decoding: frame([7...7], 1).line(job: job), as: UTF8.self)
    #expect(heard(Array(line.utf8)).beats.count == 1)
    let other = line.replacing(" 2 7 1 ", with: " 2 \(ranks) 1 ")
    #expect(other != line)
    #expect(heard(Array(other.utf8)).beats == [])
    #expect(heard(Array(other.utf8)).malformed == 1)
  }

  @Test func mpirunsWordsAreToldFromTheRanks() {
    let dashes = String(repeating: "-", count: 74)
    let notice =
      "mpirun noticed that process rank 1 with PID 0 on node a exited on signal 9 (Killed)."
    var words = LauncherWords()
    let lines =
      words.take(Array("lockstep: hello\n\(dashes)\n\(notice)\n\(dashes)\n[a:12] more\nlast".utf8))
      + words.take([], isEnd: true)
    #expect(
      lines == [
        .rank("lockstep: hello"), .launcher(dashes), .launcher(notice), .launcher(dashes),
        .launcher("[a:12] more"), .rank("last"),
      ])
    #expect(LauncherWords.endedRank(notice)?.rank == 1)
    #expect(LauncherWords.endedRank(notice)?.signal == 9)
    #expect(LauncherWords.endedRank("process rank one") == nil)
    let daemon = "  Remote daemon: [[18540,0],1] on node 10.0.0.2"
    #expect(LauncherWords.lostHost(daemon)?.name == "10.0.0.2")
    #expect(LauncherWords.lostHost("  HNP daemon   : [[18540,0],0] on node a") == nil)
  }
}

@Suite struct LaunchLineTests {
  private func line(
    ranks: Int, hosts: [JobHost], named: Int?, environment: [String: String] = [:],
    passedNames: [String] = [], cores: Int = 2,
    launcher: Launcher = Launcher(.mpirun, path: "/usr/bin/mpirun")
  ) -> LaunchLine {
    let job = LaunchLine.Job(
      launcher: launcher, program: ["/opt/lockstep", "train", "a b.yaml"], hosts: hosts,
      namedSlots: named, agent: .shell(["/usr/bin/ssh", "-o", "BatchMode=yes"]),
      temporaryFolder: "/tmp/x", sharedMemoryFolder: "/dev/shm/x", environment: environment,
      passedNames: passedNames, isRoot: true, cores: cores, processors: cores, terminal: [:])
    let launch = SupervisedLaunch(
      job: SupervisionTests.job, incarnation: 3, leasePath: "/run/lease")
    return LaunchLine(job, plan: LaunchPlan(ranksByHost: hosts.map(\.slots)), launch: launch)
  }

  @Test func onlyCrowdedJobsAreOversubscribed() {
    let local = { (ranks: Int) in [JobHost(name: "localhost", slots: ranks)] }
    #expect(!line(ranks: 2, hosts: local(2), named: nil).arguments.contains("--oversubscribe"))
    let crowded = line(ranks: 3, hosts: local(3), named: nil)
    #expect(crowded.arguments.contains("--oversubscribe"))
    #expect(crowded.arguments.contains("mpi_yield_when_idle"))
    let hosts = [JobHost(name: "a", slots: 8), JobHost(name: "b", slots: 8)]
    #expect(!line(ranks: 16, hosts: hosts, named: 16).arguments.contains("--oversubscribe"))
    #expect(line(ranks: 16, hosts: hosts, named: 8).arguments.contains("--oversubscribe"))
    #expect(line(ranks: 16, hosts: hosts, named: 16).arguments.contains("a:8,b:8"))
  }

  @Test func theEnvironmentIsAnAllowList() {
    let environment = [
      "PATH": "/bin", "HOME": "/h", "MY_TOKEN": "canary", "OMPI_MCA_secret_key": "canary",
      "AWS_SECRET_ACCESS_KEY": "canary", "OTHER": "canary", "SSH_AUTH_SOCK": "/agent",
      "LOCKSTEP_JOB": "canary", "OMPI_MCA_btl": "tcp,self",
    ]
    let local = line(
      ranks: 1, hosts: [JobHost(name: "localhost", slots: 1)], named: nil,
      environment: environment)
    #expect(!local.environment.values.contains("canary"))
    #expect(local.environment["SSH_AUTH_SOCK"] == nil)
    #expect(local.environment["OMPI_MCA_btl"] == "tcp,self" && local.environment["PATH"] == "/bin")
    #expect(local.environment["LOCKSTEP_JOB"] == SupervisionTests.job)
    #expect(local.environment["OMPI_ALLOW_RUN_AS_ROOT"] == "1")
    #expect(local.environment["SWIFT_BACKTRACE"] == "enable=no")
    let traced = line(
      ranks: 1, hosts: [JobHost(name: "localhost", slots: 1)], named: nil,
      environment: ["SWIFT_BACKTRACE": "enable=yes"])
    #expect(traced.environment["SWIFT_BACKTRACE"] == "enable=yes")
    let remote = line(
      ranks: 1, hosts: [JobHost(name: "elsewhere", slots: 1)], named: 1, environment: environment)
    #expect(remote.environment["SSH_AUTH_SOCK"] == "/agent")
    #expect(remote.arguments.contains("SSH_AUTH_SOCK="))
    #expect(!remote.arguments.contains { $0.contains("/agent") })
  }

  /// Clusters choose the network by variables, and so may users choose theirs.
  @Test(arguments: [Launcher.Kind.mpirun, .srun])
  func whatTheNetworkNeedsAndWhatIsNamedReachesRanks(kind: Launcher.Kind) {
    let environment = [
      "UCX_NET_DEVICES": "mlx5_0:1", "FI_PROVIDER": "verbs", "PSM2_CUDA": "0",
      "PRTE_MCA_oob": "x", "HWLOC_XMLFILE": "/x", "MY_TOKEN": "wanted", "MY_MODE": "wanted",
      "OTHER": "canary", "UCX_SECRET": "canary", "PWD": "/", "SHLVL": "1", "TMPDIR": "/t",
    ]
    let step = line(
      ranks: 1, hosts: [JobHost(name: "elsewhere", slots: 1)], named: 1, environment: environment,
      passedNames: ["MY_TOKEN", "MY_MODE"], launcher: Launcher(kind, path: "/usr/bin/x"))
    #expect(!step.environment.values.contains("canary"))
    #expect(step.environment["HWLOC_COMPONENTS"] == "-opencl")
    let exported = zip(step.arguments, step.arguments.dropFirst()).filter { $0.0 == "-x" }.map(\.1)
    for name in [
      "UCX_NET_DEVICES", "FI_PROVIDER", "PSM2_CUDA", "PRTE_MCA_oob", "HWLOC_XMLFILE", "MY_TOKEN",
      "MY_MODE",
    ] {
      #expect(step.environment[name] == environment[name])
      // srun gives ranks the environment it has; mpirun has to be told.
      #expect(exported.contains(name) == (kind == .mpirun), "\(name)")
    }
    #expect(exported.contains("HWLOC_COMPONENTS") == (kind == .mpirun))
    let asked = line(
      ranks: 1, hosts: [JobHost(name: "localhost", slots: 1)], named: nil,
      environment: ["HWLOC_COMPONENTS": "linux"])
    #expect(asked.environment["HWLOC_COMPONENTS"] == "linux")
  }

  @Test func whatIsDroppedIsKnownByName() throws {
    let environment = [
      "PATH": "/bin", "UCX_TLS": "rc", "B": "1", "A_TOKEN": "1", "WANTED": "1", "PWD": "/",
      "OLDPWD": "/", "SHLVL": "1", "_": "x", "PS1": "$", "LS_COLORS": "x", "TMPDIR": "/t",
    ]
    #expect(PassedEnvironment(environment, named: ["WANTED"]).dropped == ["A_TOKEN", "B"])
    try PassedEnvironment.check(named: ["B", "A_TOKEN"], in: environment)
    for name in ["MISSING", "TMPDIR", "LOCKSTEP_JOB", "OMP_NUM_THREADS"] {
      let failure = #expect(throws: Failure.self) {
        try PassedEnvironment.check(named: [name], in: environment)
      }
      #expect(failure?.exitCode == .usage && failure?.message.contains(name) == true)
    }
  }

  /// What is linked against libraries of a module finds them as the ranks do.
  @Test func theProgramsOwnProcessesFindTheirLibraries() {
    func job(_ environment: [String: String]) -> LaunchLine.Job {
      LaunchLine.Job(
        launcher: Launcher(.mpirun, path: "/usr/bin/mpirun"),
        program: ["/opt/my lockstep", "train"], hosts: [], namedSlots: nil, agent: .shell([]),
        temporaryFolder: "/tmp/x", sharedMemoryFolder: nil,
        environment: environment, isRoot: false, cores: 1, processors: 1, terminal: [:])
    }
    let own = ["PATH": "/bin", "LD_LIBRARY_PATH": "/opt/hdf5/lib:/a'b"]
    let asked = job(own.merging(["HOME": "/h", "OTHER": "x"]) { $1 })
    #expect(asked.ownEnvironment == own)
    let host = JobHost(name: "n1", slots: 1)
    let command = ["/opt/my lockstep", "reap", "--job=\(SupervisionTests.job)"]
    #expect(
      HostAgent.shell(["/usr/bin/ssh", "-v"])
        .words(host: host, command: command, libraries: own["LD_LIBRARY_PATH"]) == [
          "/usr/bin/ssh", "-v", "n1",
          "env 'LD_LIBRARY_PATH=/opt/hdf5/lib:/a'\\''b' '/opt/my lockstep' reap"
            + " --job=\(SupervisionTests.job)",
        ])
    // Slurm passes the environment on, and no shell reads its words.
    let words = HostAgent.slurm(srun: "/usr/bin/srun")
      .words(host: host, command: command, libraries: own["LD_LIBRARY_PATH"])
    #expect(words.first == "/usr/bin/srun" && words.contains("--nodelist=n1"))
    #expect(words.suffix(3) == command[...])
  }

  @Test func slurmStartsAStepWithALineARank() throws {
    let step = line(
      ranks: 3, hosts: [JobHost(name: "n1", slots: 2), JobHost(name: "n2", slots: 1)], named: 3,
      environment: ["SLURM_JOB_ID": "7", "HOME": "/h"],
      launcher: Launcher(.srun, path: "/usr/bin/srun"))
    #expect(step.arguments.first == "/usr/bin/srun")
    for word in ["--mpi=pmix", "--ntasks=3", "--kill-on-bad-exit=1", "--overlap"] {
      #expect(step.arguments.contains(word))
    }
    #expect(!step.arguments.contains("--overcommit") && !step.arguments.contains("--mca"))
    #expect(step.arguments.suffix(3) == ["/opt/lockstep", "train", "a b.yaml"])
    let file = try #require(step.file)
    #expect(file.text == "n1\nn1\nn2\n" && step.environment["SLURM_HOSTFILE"] == file.path)
    #expect(step.environment["LOCKSTEP_JOB"] == SupervisionTests.job)
    #expect(step.environment["SLURM_JOB_ID"] == "7")
  }

  @Test func wordsAreQuotedForPeopleOnly() {
    let text = line(ranks: 1, hosts: [JobHost(name: "localhost", slots: 1)], named: nil)
    #expect(text.arguments.contains("a b.yaml"))
    #expect(text.text.hasSuffix("/opt/lockstep train 'a b.yaml'"))
    let run = LaunchLine.Job(
      launcher: Launcher(.mpirun, path: "/usr/bin/mpirun"),
      program: ["/opt/lockstep", "it's\u{1b}]\u{202e}ü"], hosts: [], namedSlots: nil,
      agent: .shell([]), temporaryFolder: "/tmp", sharedMemoryFolder: nil, environment: [:],
      isRoot: false, cores: 1, processors: 1, terminal: [:])
    let line = LaunchLine(run, plan: LaunchPlan(ranksByHost: []), launch: nil).text
    #expect(line.hasSuffix(#" /opt/lockstep $'it\047s\033]\342\200\256\303\274'"#), "\(line)")
  }
}

@Suite struct ForwarderTests {
  @Test func whereNobodyCanReadNothingIsWaitedFor() throws {
    signal(SIGPIPE, SIG_IGN)
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    close(ends[0])
    defer { close(ends[1]) }
    let forwarder = try Forwarder(to: ends[1])
    let watch = Stopwatch()
    for _ in 0..<3 {
      forwarder.send(Array("words\n".utf8))
      forwarder.flush()
    }
    #expect(watch.seconds < 1.5)
  }
}

@Suite struct ReaperTests {
  @Test func aJobsProcessesAreFoundByTheirEnvironmentAndEnded() throws {
    let own = String((0..<32).map { _ in "0123456789abcdef".randomElement() ?? "0" })
    let child = try SpawnedProcess(
      ["/bin/sleep", "100"], environment: [SupervisedLaunch.jobVariable: own], output: .nothing)
    // The shell's own child is not named, and ends with its input.
    let named = try SpawnedProcess(
      ["/bin/sh", "-c", "/bin/cat; true", own], environment: [:], input: .pipe, output: .nothing)
    let other = try SpawnedProcess(
      ["/bin/sleep", "100"], environment: ["OTHER": own], output: .nothing)
    // Waited for: Swift Testing's own wait for its children never gets past one that is not.
    defer {
      named.closeInput()
      _ = other.wait(seconds: 0)
    }
    // While it becomes another program a process has no words, after a fork its parent's.
    let expected: Set = [child.identifier, named.identifier]
    var found: Set<pid_t> = []
    let watch = Stopwatch()
    while watch.seconds < 10, found != expected {
      found = Set(Reaper.processes(of: own) ?? [])
      usleep(1000)
    }
    #expect(found == expected)
    #expect(Reaper.end(job: own) || child.poll() != nil)
    #expect(child.wait(seconds: 10) == .signal(SIGKILL))
    #expect(named.wait(seconds: 10) == .signal(SIGKILL))
    #expect(other.poll() == nil)
    #expect(Reaper.processes(of: own) == [])
  }
}
