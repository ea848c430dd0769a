import ArgumentParser
import Core
import Foundation
import Messaging
import Reporting
import Training

/// `lockstep bench save`: what a save costs the steps beside it, and what a restart takes.
struct BenchSaveCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "save",
    abstract: "Time training steps with and without a save beside them, and a restart.",
    discussion: """
      Synthetic sentences of one length, so that no dataset is needed. Checkpoints are written to \
      a folder below --folder, which should lie on the disk that runs will use, and removed.
      Example: mpirun -np 2 lockstep bench save configs/transformer-base.yaml batch.tokens=800
      """)

  @OptionGroup var work: SyntheticOptions

  @Option(help: "Measured saves; the medians count.")
  var saves = 5

  @Option(help: "Where checkpoints are written.")
  var folder = "."

  @Flag(help: "Write one JSON object.")
  var json = false

  mutating func validate() throws {
    guard saves > 0 else { throw ValidationError("--saves must be at least 1.") }
  }

  func run() throws {
    let kernels = Result { () throws(Failure) in try prepareKernels(work.config, work.overrides) }
    let communicator = try Launch.communicator()
    let isFirst = communicator.rank == 0
    var place: BenchmarkFolder?
    let result = try BenchCommand.measure(
      work, communicator, kernels: kernels
    ) { (configuration: RunConfiguration) throws(Failure) in
      place = try communicator.together { () throws(Failure) in
        isFirst ? try BenchmarkFolder(in: folder) : nil
      }
      let path = try communicator.broadcast(Array((place?.path ?? "").utf8), from: 0)
      return try SaveBenchmark(
        configuration, vocabularySize: work.vocabulary, length: work.length,
        folder: String(decoding: path, as: UTF8.self), communicator: communicator)
    } run: { (benchmark: SaveBenchmark) throws(Failure) in
      // A rank that fails ends the job, and with it this process.
      defer { place = nil }
      return try benchmark.run(saves: saves)
    }
    if isFirst { try show(result) }
    try communicator.finish()
  }

  private func show(_ result: SaveBenchmark.Result) throws {
    guard !json else { return try BenchCommand.printJSON(result) }
    let seconds = { (value: Double) in String(format: "%.3f s", value) }
    let change = String(
      format: "%+.1f %%", 100 * (result.stepSecondsWhileSaving / result.stepSeconds - 1))
    let during =
      result.stepsWhileSaving == 0
      ? "no save lasts a step"
      : "with a save beside it \(seconds(result.stepSecondsWhileSaving)) (\(change), "
        + "\(result.stepsWhileSaving) steps)"
    try StandardOutput.say(
      """
      \(ProgressLine.grouped(result.parameters)) parameters, a checkpoint of \
      \(ProgressLine.bytes(result.checkpointBytes)), ranks \(result.ranks)
        step       \(seconds(result.stepSeconds)); \(during)
        save       \(seconds(result.saveSeconds)); training stands still for \
      \(seconds(result.blockedSeconds)) of it, and is delayed by \(seconds(result.delaySeconds)) \
      in all
        restart    \(seconds(result.verifySeconds)) to verify, \
      \(seconds(result.restoreSeconds)) to load
      """)
  }
}

/// A folder for checkpoints nobody wants; goes with the value.
private final class BenchmarkFolder {
  let path: String

  /// Throws: `Failure` (.cannotCreate).
  init(in folder: String) throws(Failure) {
    path = "\(folder)/lockstep-bench-\(UUID().uuidString)"
    try FileSystem.createNewFolder(path)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
