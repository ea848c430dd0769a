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
    let total = run.memory.reduce(0) { $0 + $1.byteCount }
    let parts = run.memory.map { "\($0.name) \(ProgressLine.bytes($0.byteCount))" }
    let beginning = run.resumedStep.map { "resumed after step \($0)" } ?? "new run"
    let excluded =
      run.excludedPairs > 0 ? " (\(ProgressLine.grouped(run.excludedPairs)) too long)" : ""
    return [
      "lockstep \(lockstepVersion)  \(run.runPath)  \(beginning)",
      "  ranks   \(ProgressLine.grouped(run.ranks)) on \(counted(run.hosts, "host")),"
        + " \(counted(run.lanes, "lane")), OpenBLAS kernels \(run.blasKernels)",
      "  model   \(description(of: run.model)): \(ProgressLine.grouped(run.parameterCount))"
        + " parameters",
      "  data    \(run.dataPath): \(ProgressLine.grouped(run.trainingPairs)) training\(excluded)"
        + " and \(ProgressLine.grouped(run.validationPairs)) validation pairs,"
        + " \(ProgressLine.grouped(run.vocabularySize)) pieces",
      "  step    at most \(ProgressLine.grouped(run.tokensPerStep)) source and target tokens each",
      "  memory  \(ProgressLine.bytes(total)) a rank: " + parts.joined(separator: ", "),
    ]
  }

  private static func counted(_ count: Int, _ noun: String) -> String {
    "\(ProgressLine.grouped(count)) \(noun)\(count == 1 ? "" : "s")"
  }
}
