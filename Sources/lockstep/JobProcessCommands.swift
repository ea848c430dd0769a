import ArgumentParser
import Core
import Supervision
import Training

/// `lockstep lifeline`: started by the supervisor, ends its job when it is gone.
struct LifelineCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "lifeline", shouldDisplay: false)

  func run() { Lifeline.run() }
}

/// `lockstep cores`: prints how many cores this host has, for a hostfile that does not say.
struct CoresCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "cores", shouldDisplay: false)

  func run() throws { try StandardOutput.say("\(Processors.cores)") }
}

/// `lockstep reap`: ends what is left of a job on this host; the supervisor calls it on others.
struct ReapCommand: ParsableCommand {
  static let configuration = CommandConfiguration(commandName: "reap", shouldDisplay: false)

  @Option(name: .customLong("job"), help: "The job's 32 digits.")
  var jobs: [String]

  func run() throws {
    for job in jobs {
      guard SupervisedLaunch.isJob(job) else { throw ValidationError("--job needs 32 digits.") }
      guard Reaper.end(job: job) else {
        throw Failure(.internal, "processes of job \(job) cannot be ended")
      }
    }
  }
}
