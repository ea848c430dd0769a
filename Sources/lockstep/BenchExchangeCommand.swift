import ArgumentParser
import Core
import Foundation
import Messaging
import Tensors
import Training

/// `lockstep bench exchange`: the sum of gradients over ranks, beside MPI's and the memory's speed.
struct BenchExchangeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exchange",
    abstract: "Time the gradient exchange beside MPI_Allreduce and the memory bandwidth.",
    discussion: """
      Each size is exchanged with cold caches, interleaved with MPI_Allreduce on the same data. \
      Algorithm bandwidth is size by time; bus bandwidth is that times 2 (ranks - 1) / ranks.
      Example: mpirun -np 2 lockstep bench exchange
      """)

  @Option(help: "The smallest size in bytes; each next one is four times as large.")
  var from = 64 << 10

  @Option(help: "The largest size in bytes.")
  var to = 256 << 20

  @Flag(help: "Treat every rank as a node of its own: messages instead of shared memory.")
  var separate = false

  @Flag(help: "Write one JSON object.")
  var json = false

  mutating func validate() throws {
    guard from >= 4, from % 4 == 0 else {
      throw ValidationError("--from must be a multiple of 4 bytes.")
    }
    guard to >= from else { throw ValidationError("--to must not be less than --from.") }
    guard to <= 1 << 40 else { throw ValidationError("--to must be at most 1099511627776 bytes.") }
  }

  func run() throws {
    try requireCPU()
    let communicator = try Launch.communicator()
    let isFirst = communicator.rank == 0
    if separate { communicator.separateNodes() }
    do {
      let sizes = sequence(first: from) { $0 * 4 <= to ? $0 * 4 : nil }
      let result = try ExchangeBenchmark(communicator: communicator).run(byteCounts: Array(sizes))
      if isFirst { try show(result) }
      try communicator.finish()
    } catch let failure as Failure {
      CommandLineEntry.say("rank \(communicator.rank): \(failure.message)")
      communicator.abort(failure.exitCode)
      throw ArgumentParser.ExitCode(failure.exitCode.rawValue)
    }
  }

  private func show(_ result: ExchangeBenchmark.Result) throws {
    guard !json else { return try BenchCommand.printJSON(result) }
    try StandardOutput.say(
      "# ranks \(result.ranks) on \(result.nodes) node\(result.nodes == 1 ? "" : "s"); memory"
        + " copied at \(gigabytes(result.copyBandwidth)) GB/s (read and written, all ranks at once)"
    )
    try StandardOutput.say("#                        lockstep                     MPI_Allreduce")
    try StandardOutput.say(
      "#     size      count   time(us)  algbw   busbw     time(us)  algbw   busbw  speedup"
        + "  of memory limit")
    for row in result.rows {
      try StandardOutput.say(
        String(format: "%10d %10d", row.byteCount, row.elementCount) + text(row.lockstep) + "  "
          + text(row.mpi) + String(format: "  %6.2fx", row.speedup)
          + (row.shareOfMemoryLimit.map { String(format: "  %13.0f %%", 100 * $0) } ?? ""))
    }
  }

  private func text(_ timing: ExchangeBenchmark.Timing) -> String {
    String(format: " %10.1f", timing.seconds * 1e6)
      + String(
        format: " %6.2f  %6.2f", timing.algorithmBandwidth / 1e9, timing.busBandwidth / 1e9)
  }

  private func gigabytes(_ bytesPerSecond: Double) -> String {
    String(format: "%.1f", bytesPerSecond / 1e9)
  }
}
