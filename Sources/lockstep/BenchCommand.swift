import ArgumentParser
import Core
import Foundation
import Messaging
import Reporting
import Training

/// `lockstep bench`: measures this machine at the work of a configuration.
struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure speed on this machine.",
    subcommands: [BenchStepCommand.self, BenchExchangeCommand.self, BenchSaveCommand.self])

  /// Prepares a benchmark of a configuration on every rank, and runs it.
  static func measure<Benchmark, Measured>(
    _ work: SyntheticOptions, _ communicator: any Communicator, kernels: Result<Void, Failure>,
    prepare: (RunConfiguration) throws(Failure) -> Benchmark,
    run: (Benchmark) throws(Failure) -> Measured
  ) throws -> Measured {
    let benchmark: Benchmark
    do throws(Failure) {
      let configuration = try communicator.together { () throws(Failure) in
        try kernels.get()
        return try RunConfiguration.load(path: work.config, overrides: work.overrides)
      }
      benchmark = try prepare(configuration)
    } catch {
      // Every rank knows the same failure; one of them says it.
      CommandLineEntry.say(communicator.rank == 0 ? error.message : nil)
      try communicator.finish()
      throw ArgumentParser.ExitCode(error.exitCode.rawValue)
    }
    do throws(Failure) {
      return try run(benchmark)
    } catch {
      CommandLineEntry.say("rank \(communicator.rank): \(error.message)")
      communicator.abort(error.exitCode)
      throw ArgumentParser.ExitCode(error.exitCode.rawValue)
    }
  }

  /// What was measured, as one line of JSON.
  static func printJSON(_ result: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    try StandardOutput.say(escapedJSON(String(decoding: try encoder.encode(result), as: UTF8.self)))
  }
}

/// What the synthetic steps of a benchmark are like.
struct SyntheticOptions: ParsableArguments {
  @Argument(help: "The configuration, a YAML file.")
  var config: String

  @Argument(help: "Values that override the file's: key.path=value.")
  var overrides: [String] = []

  @Option(help: "Pieces of the vocabulary.")
  var vocabulary = 37_000

  @Option(help: "Tokens of each sentence on both sides.")
  var length = 32

  mutating func validate() throws {
    guard 4...1_000_000_000 ~= vocabulary else {
      throw ValidationError("--vocabulary must be from 4 to 1000000000.")
    }
    guard 2...1_000_000 ~= length else {
      throw ValidationError("--length must be from 2 to 1000000.")
    }
  }
}

/// `lockstep bench step`: whole training steps, alone or under mpirun.
struct BenchStepCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "step",
    abstract: "Time training steps against the fastest matrix product of the same run.",
    discussion: """
      Synthetic sentences of one length, so that no dataset is needed.
      Example: lockstep bench step configs/transformer-base.yaml batch.tokens=8192
      """)

  @OptionGroup var work: SyntheticOptions

  @Option(help: "Measured steps; the median counts.")
  var steps = 3

  @Flag(help: "Write one JSON object.")
  var json = false

  mutating func validate() throws {
    guard steps > 0 else { throw ValidationError("--steps must be at least 1.") }
  }

  func run() throws {
    let kernels = Result { () throws(Failure) in try prepareKernels(work.config, work.overrides) }
    let communicator = try Launch.communicator()
    let result = try BenchCommand.measure(
      work, communicator, kernels: kernels
    ) { (configuration: RunConfiguration) throws(Failure) in
      try StepBenchmark(
        configuration, vocabularySize: work.vocabulary, length: work.length,
        communicator: communicator)
    } run: { (benchmark: StepBenchmark) throws(Failure) in
      try benchmark.run(steps: steps)
    }
    if communicator.rank == 0 { try show(result) }
    try communicator.finish()
  }

  private func show(_ result: StepBenchmark.Result) throws {
    guard !json else { return try BenchCommand.printJSON(result) }
    let percent = { (share: Double) in String(format: "%.1f %%", 100 * share) }
    let rounded = { (value: Double) in String(format: "%.1f", value) }
    try StandardOutput.say(
      """
      \(ProgressLine.grouped(result.parameters)) parameters, \
      \(ProgressLine.grouped(result.tokensPerStep)) source and target tokens a step in sentences \
      of \(result.sentenceLength), ranks \(result.ranks), OpenBLAS kernels \(result.blasKernels)
        step             \(String(format: "%.3f", result.stepSeconds)) s, \
      \(ProgressLine.grouped(result.tokensPerSecond)) source and target tokens/s
        a rank           \(rounded(result.gigaflopsPerSecond)) GFLOP/s, \
      \(percent(result.shareOfProductPeak)) of its fastest matrix product \
      (\(rounded(result.productGigaflopsPerSecond)))
        where it goes    forward and backward \(percent(result.lanesShare)), exchange \
      \(percent(result.exchangeShare)), update \(percent(result.updateShare))
        peak memory      \(ProgressLine.bytes(result.peakResidentBytes)) a rank
      """)
  }
}
