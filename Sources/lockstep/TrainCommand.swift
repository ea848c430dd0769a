import ArgumentParser
import Core
import Foundation
import Messaging
import Reporting
import Tensors
import Training

/// `lockstep train`: trains a run, alone or as one of the ranks mpirun started.
struct TrainCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "train",
    abstract: "Train a model, or go on where its run directory stands.",
    discussion: """
      Example: mpirun -np 2 lockstep train configs/quickstart.yaml train.steps=500 --run runs/try

      Run again with the same --run, it resumes from the newest checkpoint that verifies, with any \
      number of ranks up to batch.lanes. USR1 saves and ends with exit code 75 (so do TERM and \
      Ctrl-C without mpirun, which gives its ranks a second or two), USR2 saves and goes on.
      """)

  @Argument(help: "The configuration, a YAML file.")
  var config: String

  @Argument(help: "Values that override the file's: key.path=value.")
  var overrides: [String] = []

  @Option(name: .customLong("run"), help: "The run directory; made if it does not exist.")
  var runPath: String

  @Flag(help: "Go on with another learning rate (schedule.*) than the run was saved with.")
  var newSchedule = false

  func validate() throws {
    guard !runPath.isEmpty else { throw ValidationError("--run needs the name of a folder.") }
  }

  func run() throws {
    // What is wrong is said once all ranks have found each other, and then by one of them.
    let kernels = Result { () throws(Failure) in try prepareKernels(config, overrides) }
    // Before the first sign of life: who hears of a rank may send it a signal.
    let environment = ProcessInfo.processInfo.environment
    StopSignals.install(
      answers: !Launch.isByMPI,
      heedsSecondTERM: SupervisedLaunch.current == nil && environment["SLURM_JOB_ID"] == nil)
    // A reader that is gone (`| head`) ends no run.
    signal(SIGPIPE, SIG_IGN)
    let pulse = Result { () throws(Failure) in try Pulse.start() }
    let communicator = try Launch.communicator()
    Pulse.everyRankHasStarted()
    let isFirst = communicator.rank == 0
    let trainer: Trainer
    let console = TrainingConsole(isSilent: !isFirst)
    do throws(Failure) {
      let configuration = try communicator.together { () throws(Failure) in
        try kernels.get()
        try pulse.get()
        return try RunConfiguration.load(path: config, overrides: overrides)
      }
      trainer = try Trainer.open(
        configuration, run: runPath, takesSchedule: newSchedule,
        commandLine: CommandLine.arguments, communicator: communicator,
        observer: console)
    } catch {
      // Every rank knows the same failure; one of them says it.
      CommandLineEntry.say(isFirst ? error.message : nil)
      Pulse.end(error.exitCode)
      try communicator.finish()
      throw ArgumentParser.ExitCode(error.exitCode.rawValue)
    }
    try end(trainer, communicator, console)
  }

  private func end(
    _ trainer: Trainer, _ communicator: any Communicator, _ console: TrainingConsole
  ) throws {
    do {
      let end = try trainer.run()
      if end == .stopped { console.say("stopped after saving; the same command goes on from here") }
      CommandLineEntry.say(console.lostLines)
      Pulse.end(end.exitCode)
      try communicator.barrier()
      let isFirst = communicator.rank == 0
      try communicator.finish()
      switch end {
      // Not by the way of those whose output is their result.
      case .finished, .stopped: throw ArgumentParser.ExitCode(end.exitCode.rawValue)
      case .diverged:
        CommandLineEntry.say(
          isFirst
            ? "\(runPath): the gradient was not finite or too large"
              + " \(Coordinator.nonFiniteLimit) steps in a row; start a new run with a lower"
              + " learning rate or with optimizer.clip_norm" : nil)
        throw ArgumentParser.ExitCode(end.exitCode.rawValue)
      case .unsaved:
        CommandLineEntry.say(
          isFirst ? trainer.saveProblem.map { "the last state is lost: \($0.message)" } : nil)
        throw ArgumentParser.ExitCode(end.exitCode.rawValue)
      }
    } catch let failure as Failure where communicator.size > 1 {
      Pulse.end(failure.exitCode)
      if failure.exitCode == .outOfLockstep {
        // Every rank knows it; the first says it before anybody ends the others.
        CommandLineEntry.say(communicator.rank == 0 ? failure.message : nil)
        try? communicator.barrier()
      } else {
        // The others wait for this rank: end them too.
        CommandLineEntry.say("rank \(communicator.rank): \(failure.message)")
      }
      communicator.abort(failure.exitCode)
      throw ArgumentParser.ExitCode(failure.exitCode.rawValue)
    } catch let failure as Failure {
      Pulse.end(failure.exitCode)
      throw failure
    }
  }
}

/// Makes the process compute with the kernels the configuration names; may start it again.
///
/// A configuration that cannot be read is for the caller to report.
func prepareKernels(_ config: String, _ overrides: [String]) throws(Failure) {
  // A process that starts itself again finds a pipe empty: first what needs no configuration.
  if FileSystem.kind(of: config, followsLinks: true) == .other { try prepareKernels() }
  let configured = try? RunConfiguration.load(path: config, overrides: overrides)
  try prepareKernels(configured?.runtime.blasKernels)
  if configured?.precision.compute == .bf16 {
    try ReducedProducts.use(cpu: KernelSelection.cpuFeatures())
  }
}

/// Makes the process compute with the best kernels of this CPU, or the named ones; may start it
/// again.
func prepareKernels(_ name: String? = nil) throws(Failure) {
  try requireCPU()
  let wanted = try KernelSelection.apply(name)
  // Only a set somebody asked for is worth refusing to run; `auto` takes what the library has.
  if name != nil, let problem = KernelSelection.mismatch(wanted: wanted, loaded: KernelSet.blasCore)
  {
    throw Failure(.configuration, problem)
  }
  KernelSet.useOneBLASThread()
  KernelSet.takeBLASMemory()
}

/// Refuses a CPU that lacks instructions this build was made for, before one of them ends the
/// process.
func requireCPU() throws(Failure) {
  try KernelSelection.requireFeatures(
    compiled: KernelSet.compiledFeatures, cpu: KernelSelection.cpuFeatures())
}

/// Prints what a run tells; the ranks but the first are silent. A reader that is gone or a disk
/// that is full is no reason to end a run: what nobody could read is counted.
final class TrainingConsole: TrainingObserver {
  private let isSilent: Bool
  private let terminal = Terminal.current()
  private var lost: (lines: Int, why: String)?

  init(isSilent: Bool) { self.isSilent = isSilent }

  /// What could not be said; nil when everything was.
  var lostLines: String? {
    lost.map { "\($0.lines) lines could not be written (\($0.why)); events.jsonl has them all" }
  }

  func began(_ description: RunDescription) {
    StepBeacon.began(after: description.resumedStep ?? 0)
    for line in StartBanner.lines(description) { say(line) }
  }

  func stepped(_ record: StepRecord) { say(ProgressLine.text(record, on: terminal)) }
  func validated(_ record: ValidationRecord) {
    say(ProgressLine.text(record, on: terminal))
  }
  func saved(_ record: SaveRecord) {
    if record.problem == nil {
      StepBeacon.saved(step: record.step, seconds: record.seconds)
    }
    say(ProgressLine.text(record, on: terminal))
  }
  func noticed(_ line: String) { CommandLineEntry.say(isSilent ? nil : line) }

  func say(_ line: String) {
    guard !isSilent else { return }
    do throws(Failure) {
      try StandardOutput.say(line)
    } catch {
      lost = ((lost?.lines ?? 0) + 1, error.message)
    }
  }
}
