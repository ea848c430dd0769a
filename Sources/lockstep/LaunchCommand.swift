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

      TERM, Ctrl-C, HUP and USR1 save after the step and end with exit code 75; another TERM, \
      Ctrl-C or HUP, a second later, ends at once. USR2 saves and goes on. Inside a Slurm job \
      hosts and counts are Slurm's, srun starts the ranks where it has PMIx, and the run stops \
      by itself before the job's time is up.
      """)

  @Option(
    name: .customLong("np", withSingleDash: true),
    help: "How many ranks; by default as many as the hosts take.")
  var ranks: Int?

  @Option(help: "Hosts and their ranks: a:2,b:2.")
  var host: String?

  @Option(help: "A file with a host a line: name slots=2.")
  var hostfile: String?

  @Option(help: "What starts the ranks: auto (srun inside a Slurm job), mpirun or srun.")
  var launcher = LauncherChoice.auto

  @Option(help: "Restarts in a row without a new checkpoint before it is given up.")
  var restarts = 5

  @Option(help: "Start with as few ranks as this when hosts do not answer; by default all.")
  var minRanks: Int?

  @Option(help: "The program that runs a command on another host: ssh, inside a Slurm job srun.")
  var agent: String?

  @Option(help: "Seconds that loading, a first step, a validation or a save may take.")
  var patience = 900.0

  @Option(help: "Seconds without a sign of life after which a rank is given up.")
  var liveness = SupervisorPolicy().livenessSeconds

  @Option(help: "Seconds in which every rank must have begun.")
  var startTimeout = SupervisorPolicy().startSeconds

  @Option(help: "Seconds in which a host must answer.")
  var probeTimeout = SupervisorPolicy().answerSeconds

  @Flag(help: "Queue the Slurm job again when it stops for a scheduler's signal or its time.")
  var requeue = false

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
    for (name, seconds) in [
      ("patience", patience), ("liveness", liveness), ("start-timeout", startTimeout),
      ("probe-timeout", probeTimeout),
    ] where !(seconds > 0 && seconds <= 1e6) {
      throw ValidationError("--\(name) must be positive, and at most a million seconds.")
    }
    guard liveness >= 2 else {
      throw ValidationError("--liveness must be at least 2: ranks are heard twice a second.")
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
    let wanted = ranks ?? slots
    if dryRun {
      print(LaunchLine(line, plan: LaunchPlan(ranks: wanted, on: line.hosts), launch: nil).text)
      return
    }
    let settings = SupervisorShell.Settings(runPath: runPath, line: line, policy: line.policy)
    let shell = try SupervisorShell(settings)
    let (verdict, table) = shell.run()
    for line in table { CommandLineEntry.say(line) }
    if requeue, case .stopped(let standing, by: .scheduler) = verdict.reason {
      CommandLineEntry.say(
        Requeue.run(
          paths: RunPaths(root: runPath), savedStep: standing.savedStep,
          environment: ProcessInfo.processInfo.environment))
    }
    throw ArgumentParser.ExitCode(verdict.exitCode)
  }

  private func policy(ranks wanted: Int, endsIn seconds: Double?) -> SupervisorPolicy {
    var policy = SupervisorPolicy()
    policy.restartBudget = restarts
    policy.patienceSeconds = patience
    policy.livenessSeconds = liveness
    policy.startSeconds = startTimeout
    policy.answerSeconds = probeTimeout
    policy.ranks = wanted
    policy.minimumRanks = minRanks ?? wanted
    policy.endsAt = seconds
    policy.seed = UInt64.random(in: 0...UInt64.max)
    return policy
  }

  private func launchLine() throws(Failure) -> LaunchLine.Job {
    let environment = ProcessInfo.processInfo.environment
    let path = environment["PATH"] ?? "/usr/bin:/bin"
    let binary = try FileSystem.executablePath()
    let named = try namedHosts(environment)
    let hosts = placed(named ?? [JobHost(name: JobHost.localName, slots: ranks ?? 1)])
    let allocated = try SlurmAllocation.hosts(in: environment)
    let isInJob = allocated.map { allocation in
      hosts.allSatisfy { host in allocation.contains { $0.name == host.name } }
    }
    let launcher = try launcher.found(
      path: path, environment: environment, isInJob: isInJob ?? false)
    let isOneHost = hosts.allSatisfy(\.isLocal)
    let agent =
      isOneHost
      ? .shell([])
      : try LauncherChoice.agent(
        agent, path: path, isInJob: isInJob ?? false)
    let secondsLeft =
      allocated == nil
      ? nil
      : Slurm.secondsLeft(environment, squeue: SpawnedProcess.find("squeue", path: path))
    let wanted = ranks ?? hosts.reduce(0) { $0 + $1.slots }
    return LaunchLine.Job(
      launcher: launcher,
      program: [binary, "train", config] + overrides + ["--run", runPath]
        + (newSchedule ? ["--new-schedule"] : []),
      hosts: hosts, namedSlots: named?.reduce(0) { $0 + $1.slots }, agent: agent,
      policy: policy(ranks: wanted, endsIn: secondsLeft),
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

  /// The hosts with as many slots as all ranks that were asked for need: what does not fit goes
  /// round.
  private func placed(_ hosts: [JobHost]) -> [JobHost] {
    let missing = max(0, (ranks ?? 0) - hosts.reduce(0) { $0 + $1.slots })
    return hosts.enumerated().map { index, host in
      let more = missing / hosts.count + (index < missing % hosts.count ? 1 : 0)
      return JobHost(name: host.name, slots: host.slots + more)
    }
  }
}

/// `--launcher`.
enum LauncherChoice: String, ExpressibleByArgument, CaseIterable {
  case auto, mpirun, srun

  /// - Parameter isInJob: whether all hosts are of the Slurm job this process runs in.
  /// Throws: `Failure` (.unavailable, .usage).
  func found(
    path: String, environment: [String: String], isInJob: Bool
  ) throws(Failure) -> Launcher {
    let srun = isInJob ? SpawnedProcess.find("srun", path: path) : nil
    switch self {
    case .srun:
      guard isInJob else {
        throw Failure(.usage, "--launcher srun: not inside a Slurm job that has these hosts")
      }
      guard let srun else { throw Failure(.unavailable, "srun: not on PATH") }
      guard Slurm.hasPMIx(srun: srun, environment: environment) else {
        throw Failure(
          .unavailable,
          "srun --mpi=list names no pmix: this Slurm was built without it;"
            + " use --launcher mpirun")
      }
      return Launcher(.srun, path: srun)
    case .auto:
      if let srun, Slurm.hasPMIx(srun: srun, environment: environment) {
        return Launcher(.srun, path: srun)
      }
      return try Self.mpirun(path: path)
    case .mpirun: return try Self.mpirun(path: path)
    }
  }

  private static func mpirun(path: String) throws(Failure) -> Launcher {
    guard let found = SpawnedProcess.find("mpirun", path: path) else {
      throw Failure(.unavailable, "mpirun: not on PATH; install OpenMPI (package openmpi-bin)")
    }
    return Launcher(.mpirun, path: found)
  }

  private static let secureShell =
    "ssh -o BatchMode=yes -o StrictHostKeyChecking=yes -o ForwardAgent=no -o ConnectTimeout=5"

  /// How other hosts are reached: as somebody has said, by Slurm inside its job, else by ssh.
  ///
  /// Throws: `Failure` (.unavailable).
  static func agent(
    _ named: String?, path: String, isInJob: Bool
  ) throws(Failure) -> HostAgent {
    if named == nil, isInJob, let srun = SpawnedProcess.find("srun", path: path) {
      return .slurm(srun: srun)
    }
    var words = (named ?? secureShell).split(separator: " ").map(String.init)
    guard let first = words.first, let found = SpawnedProcess.find(first, path: path) else {
      throw Failure(.unavailable, "\(words.first ?? "--agent"): not on PATH; other hosts need it")
    }
    words[0] = found
    return .shell(words)
  }
}
