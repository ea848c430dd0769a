import ArgumentParser
import Checkpoints
import Core

/// `lockstep average`: the mean of a run's last checkpoints, as a checkpoint of its own.
struct AverageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "average",
    abstract: "Averages the parameters of a run's last checkpoints.",
    discussion: """
      The result is a checkpoint without optimizer state: translate and evaluate take it, training \
      does not continue from it. The paper averages the last 5 (base) or 20 (big) checkpoints.

        lockstep average runs/base --last 5
        lockstep translate --checkpoint runs/base/average-last-5
      """)

  @Argument(help: ArgumentHelp("The run directory.", valueName: "run"))
  var runDirectory: String

  @Option(help: "How many of the newest checkpoints to average.")
  var last = 5

  @Option(help: "The folder to write (default: RUN/average-last-N).")
  var out: String?

  func validate() throws {
    guard last > 0 else { throw ValidationError("--last must be at least 1, not \(last)") }
  }

  func run() throws {
    try requireCPU()
    guard FileSystem.exists(runDirectory + "/checkpoints") else {
      if let link = FileSystem.deadLink(on: runDirectory + "/checkpoints") {
        throw Failure(.missingInput, "\(runDirectory): is no run directory (\(link))")
      }
      throw Failure(
        .missingInput, "\(runDirectory): is no run directory (it has no checkpoints in it)")
    }
    let store = CheckpointStore(folder: try CheckpointStore.folder(ofRun: runDirectory))
    let checkpoints = try store.newest(last)
    let path = out ?? "\(runDirectory)/average-last-\(last)"
    let saved = try Checkpoint.average(checkpoints, into: path)
    let steps = checkpoints.map { "\($0.header.step)" }.joined(separator: ", ")
    try StandardOutput.say(
      "\(escaped(saved.path)): mean of steps \(steps), \(saved.byteCount) bytes, read back and"
        + " verified")
  }
}
