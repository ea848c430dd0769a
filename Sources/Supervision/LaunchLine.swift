import Core
import Foundation
import Training

/// What starts the ranks of a launch.
package struct Launcher: Equatable, Sendable {
  package enum Kind: String, Sendable, CaseIterable {
    case mpirun, srun
  }

  package var kind: Kind
  /// Absolute path.
  package var path: String
  /// The OpenMPI an mpirun is of; nothing depends on it where srun starts the ranks.
  package var version: OpenMPIVersion

  package init(_ kind: Kind, path: String, version: OpenMPIVersion = .oldest) {
    self.kind = kind
    self.path = path
    self.version = version
  }
}

/// The command that starts the ranks of one launch: words for `posix_spawn`, never for a shell.
package struct LaunchLine: Equatable, Sendable {
  /// What does not change between the launches of a job.
  package struct Job: Sendable {
    package var launcher: Launcher
    /// The program and its arguments, as every rank gets them.
    package var program: [String]
    package var hosts: [JobHost]
    /// Ranks the named hosts are meant for in all; nil when the user named none and mpirun needs
    /// no list.
    package var namedSlots: Int?
    /// How other hosts are reached.
    package var agent: HostAgent
    /// Limits that are told to mpirun.
    package var policy: SupervisorPolicy
    /// Folders of this job alone, below /tmp and /dev/shm; the second only on one host.
    package var temporaryFolder: String
    package var sharedMemoryFolder: String?
    /// The supervisor's environment, and names in it that somebody wants to be passed on.
    package var environment: [String: String]
    package var passedNames: [String]
    package var isRoot: Bool
    /// Cores mpirun would count as slots here, and processors this process may use.
    package var cores: Int
    package var processors: Int
    /// What the ranks are told of the supervisor's terminal.
    package var terminal: [String: String]

    package init(
      launcher: Launcher, program: [String], hosts: [JobHost], namedSlots: Int?,
      agent: HostAgent, policy: SupervisorPolicy = SupervisorPolicy(), temporaryFolder: String,
      sharedMemoryFolder: String?, environment: [String: String],
      passedNames: [String] = [], isRoot: Bool, cores: Int, processors: Int,
      terminal: [String: String]
    ) {
      self.launcher = launcher
      self.program = program
      // mpirun counts ranks from its own host on, wherever that stands in a list.
      self.hosts =
        launcher.kind == .mpirun
        ? hosts.filter(\.isLocal) + hosts.filter { !$0.isLocal } : hosts
      self.namedSlots = namedSlots
      self.agent = agent
      self.policy = policy
      self.temporaryFolder = temporaryFolder
      self.sharedMemoryFolder = sharedMemoryFolder
      self.environment = environment
      self.passedNames = passedNames
      self.isRoot = isRoot
      self.cores = cores
      self.processors = processors
      self.terminal = terminal
    }
  }

  package let arguments: [String]
  package let environment: [String: String]
  /// A file the launcher reads, to be written before it starts.
  package let file: File?

  package struct File: Equatable, Sendable {
    package var path: String
    package var text: String
  }

  /// For mpirun's own connections, never for a rank.
  private static let launcherOnly = ["SSH_AUTH_SOCK"]

  /// - Parameters:
  ///   - launch: nil in a dry run, where no incarnation is taken.
  package init(_ job: Job, plan: LaunchPlan, launch: SupervisedLaunch?) {
    let used = zip(job.hosts, plan.ranksByHost).filter { $1 > 0 }
    let isRemote = used.contains { !$0.0.isLocal }
    let allRanks = job.hosts.reduce(0) { $0 + $1.slots }
    let isCrowded = job.namedSlots.map { allRanks > $0 } ?? (plan.ranks > job.cores)
    let yields = isCrowded || (!isRemote && plan.ranks > job.processors)

    if job.launcher.kind == .srun {
      (arguments, environment, file) = Self.step(
        job, used: used, isCrowded: isCrowded, yields: yields, launch)
      return
    }
    let version = job.launcher.version
    // Only a file takes the names of users, or thousands of hosts: Linux limits a word.
    let isLong = used.reduce(0) { $0 + $1.0.name.utf8.count + 7 } > 100_000
    file =
      isLong || used.contains { $0.0.login != nil }
      ? File(
        path: job.temporaryFolder + "/hosts",
        text: used.map { "\(version.address(of: $0.0)) slots=\($0.1)\n" }.joined()) : nil
    var environment = Self.common(job, launch)
    let forRanks = environment.keys.filter { job.passed.isForRanks($0) }.sorted()
    environment["TMPDIR"] = job.temporaryFolder
    if job.isRoot {
      environment["OMPI_ALLOW_RUN_AS_ROOT"] = "1"
      environment["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    }

    var words = [job.launcher.path, "-np", String(plan.ranks)]
    if job.namedSlots != nil, let file {
      words += ["--hostfile", file.path]
    } else if job.namedSlots != nil {
      let list = used.map { "\(version.address(of: $0.0)):\($0.1)" }
      words += ["--host", list.joined(separator: ",")]
    }
    words += version.placement(isCrowded: isCrowded)
    if isRemote {
      for name in Self.launcherOnly where job.environment[name] != nil {
        environment[name] = job.environment[name]
        // mpirun gives local ranks its own environment: there it is emptied again.
        words += ["-x", "\(name)="]
      }
    }
    words += version.parameters(
      job, isRemote: isRemote, yields: yields, marker: launch?.job)
    words += forRanks.flatMap { ["-x", $0] }
    arguments = words + job.program
    self.environment = environment
  }

  /// The environment of the launcher, before what is its own.
  static func common(_ job: Job, _ launch: SupervisedLaunch?) -> [String: String] {
    var environment = job.passed.variables
    environment.merge(job.terminal) { $1 }
    environment.merge(["OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"]) { $1 }
    // Swift's backtracer keeps a dying rank for a second, and stays behind if the rank is ended
    // meanwhile. A trap comes back at the same step, for whoever asks for its trace then.
    environment.merge(["SWIFT_BACKTRACE": "enable=no"]) { asked, _ in asked }
    // An OpenCL runtime that hwloc loads may take over the signals by which mpirun is told to save.
    environment.merge(["HWLOC_COMPONENTS": "-opencl"]) { asked, _ in asked }
    // OpenMPI 5 asks the kernel which address reaches which. Where hosts have IPv6 it finds no way
    // to this host's own, and prints a line for each rank beside another.
    environment.merge(["OMPI_MCA_reachable": "weighted"]) { asked, _ in asked }
    // OpenMPI looks for its settings there, and ends where it finds no such place.
    environment.merge(["HOME": job.temporaryFolder]) { asked, _ in asked }
    if let launch { environment.merge(launch.environment) { $1 } }
    return environment
  }

  /// The line as a person could type it, once the file is there.
  package var text: String {
    let hosts = environment["SLURM_HOSTFILE"].map { ["SLURM_HOSTFILE=" + Self.typed($0)] } ?? []
    return (hosts + arguments.map(Self.typed)).joined(separator: " ")
  }

  /// A word for people: what a terminal would obey stands as numbers, which bash and zsh read.
  private static func typed(_ word: String) -> String {
    guard word.unicodeScalars.contains(where: \.canDriveTerminals) else { return quoted(word) }
    let bytes = word.utf8.map { byte in
      let isPlain = (0x20...0x7e).contains(byte) && !"\\'".utf8.contains(byte)
      return isPlain ? String(Unicode.Scalar(byte)) : String(format: "\\%03o", byte)
    }
    return "$'" + bytes.joined() + "'"
  }

  static func quoted(_ word: String) -> String {
    let plain = word.utf8.allSatisfy { byte in
      (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
        || "-_./=:,+@%".utf8.contains(byte)
    }
    return plain && !word.isEmpty ? word : "'" + word.replacing("'", with: "'\\''") + "'"
  }
}

extension LaunchLine.Job {
  /// With folders of one job alone in those that were given.
  package func withFolders(of job: String) -> LaunchLine.Job {
    var own = self
    own.temporaryFolder += "/lockstep-\(job)"
    own.sharedMemoryFolder? += "/lockstep-\(job)"
    return own
  }

  /// What the launcher's own files may take: OpenMPI 4 takes 8 MiB and a little, at once.
  private var launcherByteCount: Int { launcher.kind == .mpirun ? 12 << 20 : 64 << 10 }

  /// Makes the folders, for this user alone.
  ///
  /// Throws: `Failure` (.cannotCreate).
  package func makeFolders() throws(Failure) {
    for folder in folders where mkdir(folder, 0o700) != 0 {
      let failed = FileSystem.failure(
        .cannotCreate, "hold a folder for temporary files", FileSystem.parent(of: folder))
      throw folder == temporaryFolder
        ? Failure(failed.exitCode, failed.message + "; name another place by TMPDIR") : failed
    }
  }

  /// Makes sure that the launcher has room for its files: without, its ranks wait for ever or end
  /// with words of its own.
  ///
  /// Throws: `Failure` (.inputOutput, .cannotCreate).
  package func requireRoom() throws(Failure) {
    let path = temporaryFolder + "/room"
    let file = try OpenFile(creating: path)
    defer { unlink(path) }
    do throws(Failure) {
      try file.reserve(byteCount: launcherByteCount)
    } catch {
      let reason = String(cString: strerror(errno))
      throw Failure(
        error.exitCode,
        "\(FileSystem.parent(of: temporaryFolder)): has no room for the"
          + " \(launcherByteCount >> 10) KiB of temporary files that"
          + " \(FileSystem.name(of: launcher.path)) needs (\(reason)); make room there or name"
          + " another place by TMPDIR")
    }
  }

  package var passed: PassedEnvironment {
    PassedEnvironment(environment, named: passedNames)
  }

  /// For temporary files, on this host.
  package var folders: [String] { [temporaryFolder] + (sharedMemoryFolder.map { [$0] } ?? []) }

  /// What this program needs to run beside the ranks: it may find its libraries as they do, by
  /// what `module load` has set.
  package var ownEnvironment: [String: String] {
    environment.filter { ["PATH", "LD_LIBRARY_PATH"].contains($0.key) }
  }
}
