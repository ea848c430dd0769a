import ArgumentParser
import Core
import Foundation
import Reporting
import Supervision
import Training

/// What `lockstep launch` finds before it starts anything: the job it is in, hosts, launcher.
extension LaunchCommand {
  /// The Slurm job this process is in; nil where there is none that runs.
  func slurmJob(_ environment: [String: String]) -> SlurmJob? {
    guard !noSlurm else { return nil }
    let squeue = SpawnedProcess.find("squeue", path: environment["PATH"] ?? "")
    guard let job = Slurm.job(environment, squeue: squeue) else { return nil }
    if !job.isRunning {
      CommandLineEntry.say(
        "SLURM_JOB_ID names job \(job.id), which does not run: its hosts are not taken")
    }
    return job.isRunning ? job : nil
  }

  /// Puts the job's numbers into the run's name and the values that override the file's.
  mutating func expandTexts(_ environment: [String: String]) throws(Failure) {
    runPath = try JobText.expanded(runPath, environment: environment)
    for index in overrides.indices {
      overrides[index] = try JobText.expanded(overrides[index], environment: environment)
    }
  }

  /// - Parameter job: the Slurm job this process is in.
  func launchLine(
    _ everything: [String: String], _ job: SlurmJob?
  ) throws(Failure) -> LaunchLine.Job {
    // OpenMPI, too, would take the hosts of a job that is over.
    let environment = everything.filter {
      job == nil ? !$0.key.hasPrefix("SLURM_") : !Slurm.stepSettings.contains($0.key)
    }
    try PassedEnvironment.check(named: passedNames, in: environment)
    let path = environment["PATH"] ?? "/usr/bin:/bin"
    let binary = try FileSystem.executablePath()
    let source = try HostSource.find(
      host: host, hostfile: hostfile, environment: environment, job: job)
    let allocation = job == nil ? nil : try SlurmAllocation.hosts(in: environment)
    let names = source?.entries.map(\.name) ?? []
    let isInJob = allocation.map { hosts in names.allSatisfy(hosts.map(\.name).contains) } ?? false
    let isOneHost = names.allSatisfy { JobHost(name: $0, slots: 1).isLocal }
    let agent =
      isOneHost
      ? HostAgent.shell([]) : try LauncherChoice.agent(self.agent, path: path, isInJob: isInJob)
    let named = try source?.resolved(
      agent: agent, program: binary, environment: environment, withinSeconds: probeTimeout,
      guess: ranks == nil ? nil : CommandLineEntry.say)
    let hosts = placed(named ?? [JobHost(name: JobHost.localName, slots: ranks ?? 1)])
    let slots = named?.reduce(0) { $0 + $1.slots }
    let wanted = ranks ?? slots ?? 1
    guard wanted <= Self.rankLimit else {
      throw Failure(
        .usage,
        "the hosts take \(wanted) ranks, more than the \(Self.rankLimit) that can be started;"
          + " -np starts fewer")
    }
    tell(source, hosts: named ?? [], ranks: wanted, slots: slots, environment)
    return LaunchLine.Job(
      launcher: try launcher.found(path: path, environment: environment, isInJob: isInJob),
      program: [binary, "train", config] + overrides + ["--run", runPath]
        + (newSchedule ? ["--new-schedule"] : []),
      hosts: hosts, namedSlots: slots, agent: agent,
      policy: policy(ranks: wanted, endsIn: job?.secondsLeft),
      temporaryFolder: environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/tmp",
      sharedMemoryFolder: isOneHost && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : nil,
      environment: environment, passedNames: passedNames, isRoot: geteuid() == 0,
      cores: Processors.cores, processors: Processors.usable,
      terminal: Terminal.current().variables)
  }

  /// Says whose hosts are taken where nobody typed them, and when ranks do not fit.
  private func tell(
    _ source: HostSource?, hosts: [JobHost], ranks wanted: Int, slots: Int?,
    _ environment: [String: String]
  ) {
    if let source, let origin = source.origin {
      let list = hosts.prefix(8).map { "\($0.name):\($0.slots)" }.joined(separator: ", ")
      let more = hosts.count > 8 ? " and \(hosts.count - 8) more" : ""
      CommandLineEntry.say("hosts from \(origin): \(list)\(more)")
      if source.isSlurms, ranks == nil,
        let words = SlurmAllocation.idleProcessors(environment, ranks: wanted)
      {
        CommandLineEntry.say(words)
      }
    }
    let most = slots ?? Processors.cores
    if wanted > most {
      CommandLineEntry.say(
        "\(wanted) ranks on \(most) \(slots == nil ? "cores" : "slots"): they share cores")
    }
  }

  /// The hosts with as many slots as all ranks that were asked for need: what does not fit goes
  /// round.
  private func placed(_ hosts: [JobHost]) -> [JobHost] {
    let missing = max(0, (ranks ?? 0) - hosts.reduce(0) { $0 + $1.slots })
    return hosts.enumerated().map { index, host in
      let more = missing / hosts.count + (index < missing % hosts.count ? 1 : 0)
      return JobHost(name: host.name, slots: host.slots + more, login: host.login)
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
      if let srun {
        if Slurm.hasPMIx(srun: srun, environment: environment) {
          return Launcher(.srun, path: srun)
        }
        CommandLineEntry.say("srun --mpi=list has told of no pmix: mpirun starts the ranks")
      }
      return try Self.mpirun(path: path, environment: environment)
    case .mpirun: return try Self.mpirun(path: path, environment: environment)
    }
  }

  private static func mpirun(
    path: String, environment: [String: String]
  ) throws(Failure) -> Launcher {
    guard let found = SpawnedProcess.find("mpirun", path: path) else {
      throw Failure(.unavailable, "mpirun: not on PATH; install OpenMPI (package openmpi-bin)")
    }
    return Launcher(
      .mpirun, path: found,
      version: try OpenMPIVersion.of(mpirun: found, environment: environment))
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
