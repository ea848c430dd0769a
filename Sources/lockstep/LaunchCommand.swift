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

  @Option(
    help: "A file with a host a line: name slots=2; without a number as many as it has cores.")
  var hostfile: String?

  @Flag(help: "Take no hosts from a Slurm job, and start no ranks with srun.")
  var noSlurm = false

  @Option(help: "What starts the ranks: auto (srun inside a Slurm job), mpirun or srun.")
  var launcher = LauncherChoice.auto

  @Option(help: "Restarts in a row without a new checkpoint before it is given up.")
  var restarts = 5

  @Option(help: "Start with as few ranks as this when hosts do not answer; by default all.")
  var minRanks: Int?

  @Option(help: "The program that runs a command on another host: ssh, inside a Slurm job srun.")
  var agent: String?

  @Option(
    name: .customLong("pass"), parsing: .singleValue,
    help: "A variable of the environment that the ranks get, too; may be given several times.")
  var passedNames: [String] = []

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

  /// Ten times what the largest machines have; sums of such counts fit.
  static let rankLimit = 10_000_000

  func validate() throws {
    guard 1...Self.rankLimit ~= ranks ?? 1 else {
      throw ValidationError("-np must be from 1 to \(Self.rankLimit).")
    }
    guard !runPath.isEmpty else { throw ValidationError("--run needs the name of a folder.") }
    guard 0...1_000_000 ~= restarts else {
      throw ValidationError("--restarts must be from 0 to a million.")
    }
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

  mutating func run() throws {
    let environment = ProcessInfo.processInfo.environment
    let job = slurmJob(environment)
    if job != nil { try expandTexts(environment) }
    // What no rank could use is refused before any is started.
    _ = try RunConfiguration.load(path: config, overrides: overrides)
    let line = try launchLine(environment, job)
    let wanted = line.policy.ranks
    guard minRanks ?? 1 <= wanted else {
      throw Failure(
        .usage, "--min-ranks \(minRanks ?? 1): the job has \(wanted) ranks; ask for fewer")
    }
    if dryRun {
      let plan = LaunchPlan(ranks: wanted, on: line.hosts)
      let example = LaunchLine(line, plan: plan, launch: nil)
      try StandardOutput.say(example.text)
      if let file = example.file {
        let lines = file.text.filledLines.joined(separator: ", ")
        CommandLineEntry.say("the lines of \(file.path), which launch writes: \(lines)")
      }
      let dropped = line.passed.dropped.joined(separator: " ")
      CommandLineEntry.say(dropped.isEmpty ? nil : "not passed to the ranks: \(dropped)")
      return
    }
    let settings = SupervisorShell.Settings(runPath: runPath, line: line, policy: line.policy)
    let shell = try SupervisorShell(settings)
    let (verdict, table) = shell.run()
    for line in table { CommandLineEntry.say(line) }
    if requeue, case .stopped(let standing, by: .scheduler) = verdict.reason {
      CommandLineEntry.say(
        Requeue.run(
          job: job?.id, paths: RunPaths(root: runPath), savedStep: standing.savedStep,
          environment: environment))
    }
    throw ArgumentParser.ExitCode(verdict.exitCode)
  }

  func policy(ranks wanted: Int, endsIn seconds: Double?) -> SupervisorPolicy {
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
}
