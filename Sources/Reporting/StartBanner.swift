import Core
import Training

/// What a run says about itself before its first step, so that a mistake is seen before it costs
/// an hour.
package struct StartBanner: Equatable, Sendable {
  package var version: String
  package var runPath: String
  /// `new run`, or `resumed after step 1200`.
  package var beginning: String
  package var ranks: Int
  package var hosts: Int
  package var lanes: Int
  /// The kernel set that OpenBLAS really took.
  package var blasKernels: String
  /// `transformer 2+2 layers, d 256, ff 1024, 4 heads`.
  package var model: String
  package var parameterCount: Int
  package var dataPath: String
  package var trainingPairs: Int
  package var validationPairs: Int
  package var vocabularySize: Int
  package var tokensPerStep: Int
  /// One line a rank would be too much: these are of the largest rank.
  package var memory: [MemoryPart]

  /// A part of the memory a rank plans to use.
  package struct MemoryPart: Equatable, Sendable {
    package var name: String
    package var byteCount: Int

    package init(_ name: String, _ byteCount: Int) {
      self.name = name
      self.byteCount = byteCount
    }
  }

  package init(
    version: String, runPath: String, beginning: String, ranks: Int, hosts: Int, lanes: Int,
    blasKernels: String, model: String, parameterCount: Int, dataPath: String,
    trainingPairs: Int, validationPairs: Int, vocabularySize: Int, tokensPerStep: Int,
    memory: [MemoryPart]
  ) {
    self.version = version
    self.runPath = runPath
    self.beginning = beginning
    self.ranks = ranks
    self.hosts = hosts
    self.lanes = lanes
    self.blasKernels = blasKernels
    self.model = model
    self.parameterCount = parameterCount
    self.dataPath = dataPath
    self.trainingPairs = trainingPairs
    self.validationPairs = validationPairs
    self.vocabularySize = vocabularySize
    self.tokensPerStep = tokensPerStep
    self.memory = memory
  }

  /// The dimensions of a configuration in a few words.
  package static func description(of model: RunConfiguration.ModelGroup) -> String {
    "Transformer \(model.encoderLayers)+\(model.decoderLayers) layers, d \(model.dimension),"
      + " ff \(model.feedForward), \(model.heads) heads, \(model.norm.rawValue)-norm,"
      + " \(model.positions.rawValue) positions"
  }

  package var lines: [String] {
    let total = memory.reduce(0) { $0 + $1.byteCount }
    let parts = memory.map { "\($0.name) \(ProgressLine.bytes($0.byteCount))" }
    return [
      "lockstep \(version)  \(runPath)  \(beginning)",
      "  ranks   \(ProgressLine.grouped(ranks)) on \(counted(hosts, "host")),"
        + " \(counted(lanes, "lane")), OpenBLAS kernels \(blasKernels)",
      "  model   \(model): \(ProgressLine.grouped(parameterCount)) parameters",
      "  data    \(dataPath): \(ProgressLine.grouped(trainingPairs)) training and"
        + " \(ProgressLine.grouped(validationPairs)) validation pairs,"
        + " \(ProgressLine.grouped(vocabularySize)) pieces",
      "  step    \(ProgressLine.grouped(tokensPerStep)) source and target tokens each",
      "  memory  \(ProgressLine.bytes(total)) a rank: " + parts.joined(separator: ", "),
    ]
  }

  private func counted(_ count: Int, _ noun: String) -> String {
    "\(ProgressLine.grouped(count)) \(noun)\(count == 1 ? "" : "s")"
  }
}
