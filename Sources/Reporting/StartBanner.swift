import Core
import Training

/// What a run says about itself before its first step.
package enum StartBanner {
  /// The dimensions of a configuration in a few words.
  static func description(of model: RunConfiguration.ModelGroup) -> String {
    "Transformer \(model.encoderLayers)+\(model.decoderLayers) layers, d \(model.dimension),"
      + " ff \(model.feedForward), \(model.heads) heads, \(model.norm.rawValue)-norm,"
      + " \(model.positions.rawValue) positions"
  }

  package static func lines(_ run: RunDescription) -> [String] {
    let beginning = run.resumedStep.map { "resumed after step \($0)" } ?? "new run"
    let excluded =
      run.excludedPairs > 0 ? " (\(ProgressLine.grouped(run.excludedPairs)) too long)" : ""
    let lines =
      [
        "lockstep \(lockstepVersion)  \(run.runPath)  \(beginning)",
        "  ranks   \(ProgressLine.grouped(run.ranks)) on \(counted(run.hosts, "host")),"
          + " \(counted(run.lanes, "lane")), OpenBLAS kernels \(run.blasKernels)"
          + (run.reducedProducts.map { ", bf16 products of \($0)" } ?? ""),
        "  model   \(description(of: run.model)): \(ProgressLine.grouped(run.parameterCount))"
          + " parameters",
        "  data    \(run.dataPath): \(ProgressLine.grouped(run.trainingPairs)) training\(excluded)"
          + " and \(ProgressLine.grouped(run.validationPairs)) validation pairs,"
          + " \(ProgressLine.grouped(run.vocabularySize)) pieces",
        "  step    at most \(ProgressLine.grouped(run.tokensPerStep)) source and target tokens"
          + " each",
      ] + memory(run) + (run.shortage.map { [warning($0)] } ?? [])
    // Paths are in them.
    return lines.map(escaped)
  }

  /// What will probably end in ranks that the kernel kills.
  private static func warning(_ short: MemoryShortage) -> String {
    "  memory  too little: \(counted(short.ranks, "rank")) on \(short.host) will need"
      + " \(ProgressLine.bytes(short.plannedBytes)) and more, \(short.limit.owner.text) is"
      + " \(ProgressLine.bytes(short.limit.byteCount))"
  }

  /// What a rank plans to use: on a line, or a line for each stage.
  private static func memory(_ run: RunDescription) -> [String] {
    guard run.stages.count > 1 else {
      return run.stages.map { stage in
        let parts = stage.memory.map { "\($0.name) \(ProgressLine.bytes($0.byteCount))" }
        return "  memory  \(ProgressLine.bytes(stage.byteCount)) a rank: "
          + parts.joined(separator: ", ")
      }
    }
    let titles = ["stage"] + run.stages[0].memory.map(\.name) + ["a rank", "layers"]
    let rows = run.stages.enumerated().map { number, stage in
      [String(number)] + stage.memory.map { ProgressLine.bytes($0.byteCount) }
        + [ProgressLine.bytes(stage.byteCount), stage.layers]
    }
    let table = [titles] + rows
    let widths = titles.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    let last = titles.count - 1
    return ["  memory by stage, \(run.schedule)"]
      + table.map { row in
        let columns = (0..<last).map { ProgressLine.padded(row[$0], widths[$0]) }
        return "  " + (columns + [row[last]]).joined(separator: "  ")
      }
  }

  private static func counted(_ count: Int, _ noun: String) -> String {
    "\(ProgressLine.grouped(count)) \(noun)\(count == 1 ? "" : "s")"
  }
}
