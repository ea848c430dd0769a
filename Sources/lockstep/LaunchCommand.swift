import ArgumentParser
import Core
import Foundation
import Reporting
import Supervision
import Training

/// `lockstep launch`: starts mpirun, watches its ranks and restarts them until the run has ended.
struct LaunchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "launch",
    abstract: "Train on many ranks, and go on by itself after whatever dies.",
    discussion: """
      Example: lockstep launch -np 2 configs/quickstart.yaml train.steps=500 --run runs/try

      TERM, Ctrl-C, HUP and USR1 save after the step and end with exit code 75; another one, a \
      second later, ends at once. USR2 saves and goes on. Inside a Slurm job hosts and counts are \
      Slurm's.
      """)

  @Option(
    name: .customLong("np", withSingleDash: true),
    help: "How many ranks; by default as many as the hosts take.")
  var ranks: Int?

  @Option(help: "Hosts and their ranks: a:2,b:2.")
  var host: String?

  @Option(help: "A file with a host a line: name slots=2.")
  var hostfile: String?

  @Option(help: "Restarts in a row without a new checkpoint before it is given up.")
  var restarts = 5

  @Option(help: "Start with as few ranks as this when hosts do not answer; by default all.")
  var minRanks: Int?

  @Option(help: "The program that runs a command on another host.")
  var agent =
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ConnectTimeout=5"

  @Option(help: "Seconds that loading, a first step, a validation or a save may take.")
  var patience = 900.0

  @Flag(help: "Print the command that would start the ranks, and end.")
  var dryRun = false

  @Argument(help: "The configuration, a YAML file.")
  var config: String

  @Argument(help: "Values that override the file's: key.path=value.")
  var overrides: [String] = []

  @Option(name: .customLong("run"), help: "The run directory; made if it does not exist.")
  var runPath: String

  @Flag(help: "Go on with another learning rate (schedule.*) than the run was saved with.")
  var newSchedule = false

  func validate() throws {
    guard ranks ?? 1 > 0 else { throw ValidationError("-np must be positive.") }
    guard restarts >= 0 else { throw ValidationError("--restarts must not be negative.") }
    guard minRanks ?? 1 > 0 else { throw ValidationError("--min-ranks must be positive.") }
    guard patience > 0, patience.isFinite else {
      throw ValidationError("--patience must be positive.")
    }
    guard host == nil || hostfile == nil else {
      throw ValidationError("--host and --hostfile exclude each other.")
    }
  }

  func run() throws {
    // What no rank could use is refused before any is started.
    _ = try RunConfiguration.load(path: config, overrides: overrides)
    let line = try launchLine()
    let slots = line.hosts.reduce(0) { $0 + $1.slots }
    guard minRanks ?? 1 <= slots else {
      throw Failure(
        .usage, "--min-ranks \(minRanks ?? 1): the job has \(slots) ranks; ask for fewer")
    }
    if dryRun {
      let plan = LaunchPlan(ranksByHost: line.hosts.map(\.slots))
      print(LaunchLine(line, plan: plan, launch: nil).text)
      return
    }
    var policy = SupervisorPolicy()
    policy.restartBudget = restarts
    policy.patienceSeconds = patience
    policy.minimumRanks = minRanks ?? slots
    policy.seed = UInt64.random(in: 0...UInt64.max)
    let settings = SupervisorShell.Settings(runPath: runPath, line: line, policy: policy)
    let shell = try SupervisorShell(settings)
    let (verdict, table) = shell.run()
    for line in table { CommandLineEntry.say(line) }
    throw ArgumentParser.ExitCode(verdict.exitCode)
  }

  private func launchLine() throws(Failure) -> LaunchLine.Job {
    let environment = ProcessInfo.processInfo.environment
    let path = environment["PATH"] ?? "/usr/bin:/bin"
    guard let launcher = SpawnedProcess.find("mpirun", path: path) else {
      throw Failure(.unavailable, "mpirun: not on PATH; install OpenMPI (package openmpi-bin)")
    }
    let binary = try FileSystem.executablePath()
    let named = try namedHosts(environment)
    let hosts = placed(named ?? [JobHost(name: JobHost.localName, slots: ranks ?? 1)])
    var agent = agent.split(separator: " ").map(String.init)
    if hosts.contains(where: { !$0.isLocal }) {
      guard let first = agent.first, let found = SpawnedProcess.find(first, path: path) else {
        throw Failure(
          .unavailable, "\(agent.first ?? "--agent"): not on PATH; other hosts need it")
      }
      agent[0] = found
    }
    let isOneHost = hosts.allSatisfy(\.isLocal)
    return LaunchLine.Job(
      launcher: launcher,
      program: [binary, "train", config] + overrides + ["--run", runPath]
        + (newSchedule ? ["--new-schedule"] : []),
      hosts: hosts, namedSlots: named?.reduce(0) { $0 + $1.slots }, agent: agent,
      temporaryFolder: environment["TMPDIR"] ?? "/tmp",
      sharedMemoryFolder: isOneHost && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : nil,
      environment: environment, isRoot: geteuid() == 0, cores: Processors.cores,
      processors: Processors.usable, terminal: Terminal.current().variables)
  }

  /// The hosts somebody named: on the command line, in a file, or Slurm.
  private func namedHosts(_ environment: [String: String]) throws(Failure) -> [JobHost]? {
    if let host { return try HostList.parse(host) }
    if let hostfile {
      let bytes = try FileSystem.readAll(hostfile, limit: 1 << 20)
      return try HostList.parse(
        hostfile: String(decoding: bytes, as: UTF8.self), path: hostfile)
    }
    return try SlurmAllocation.hosts(in: environment)
  }

  /// As many ranks as were asked for, host after host; what does not fit goes round.
  private func placed(_ hosts: [JobHost]) -> [JobHost] {
    guard let ranks else { return hosts }
    var counts = hosts.map { _ in 0 }
    var left = ranks
    for index in hosts.indices {
      counts[index] = min(left, hosts[index].slots)
      left -= counts[index]
    }
    for index in 0..<left { counts[index % hosts.count] += 1 }
    return zip(hosts, counts).filter { $1 > 0 }.map { JobHost(name: $0.name, slots: $1) }
  }
}
