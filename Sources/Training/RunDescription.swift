import Core

/// What a run says about itself before its first step, so that a mistake is seen before it costs an
/// hour.
package struct RunDescription: Equatable, Sendable {
  package var runPath: String
  /// The step that was done last; nil in a new run.
  package var resumedStep: Int?
  package var ranks: Int
  package var hosts: Int
  package var lanes: Int
  /// The kernel set that OpenBLAS really took.
  package var blasKernels: String
  /// Whose products of bfloat16 are used; nil where all are fp32.
  package var reducedProducts: String?
  package var model: RunConfiguration.ModelGroup
  package var parameterCount: Int
  package var dataPath: String
  package var trainingPairs: Int
  /// Pairs that are too long for the configuration.
  package var excludedPairs: Int
  package var validationPairs: Int
  package var vocabularySize: Int
  /// Source and target tokens each, at most.
  package var tokensPerStep: Int
  /// How micro-batches pass through the stages, where there are several.
  package var schedule: String
  /// By stage.
  package var stages: [StageDescription]
  /// nil where every host has the memory its ranks plan to use.
  package var shortage: MemoryShortage?

  package init(
    runPath: String, resumedStep: Int?, ranks: Int, hosts: Int, lanes: Int, blasKernels: String,
    reducedProducts: String?, model: RunConfiguration.ModelGroup, parameterCount: Int,
    dataPath: String, trainingPairs: Int,
    excludedPairs: Int, validationPairs: Int, vocabularySize: Int, tokensPerStep: Int,
    schedule: String, stages: [StageDescription], shortage: MemoryShortage? = nil
  ) {
    self.runPath = runPath
    self.resumedStep = resumedStep
    self.ranks = ranks
    self.hosts = hosts
    self.lanes = lanes
    self.blasKernels = blasKernels
    self.reducedProducts = reducedProducts
    self.model = model
    self.parameterCount = parameterCount
    self.dataPath = dataPath
    self.trainingPairs = trainingPairs
    self.excludedPairs = excludedPairs
    self.validationPairs = validationPairs
    self.vocabularySize = vocabularySize
    self.tokensPerStep = tokensPerStep
    self.schedule = schedule
    self.stages = stages
    self.shortage = shortage
  }

  /// What one stage of the pipeline holds; the only one holds the whole model.
  package struct StageDescription: Equatable, Sendable {
    /// Its layers and its share of the work.
    package var layers: String
    /// What a rank plans to use, by purpose: of the stage's ranks the one that needs most.
    package var memory: [MemoryPart]

    package init(layers: String, memory: [MemoryPart]) {
      self.layers = layers
      self.memory = memory
    }

    package var byteCount: Int { memory.reduce(0) { $0 + $1.byteCount } }
  }

  /// A part of the memory a rank plans to use.
  package struct MemoryPart: Equatable, Sendable {
    package var name: String
    package var byteCount: Int

    package init(_ name: String, _ byteCount: Int) {
      self.name = name
      self.byteCount = byteCount
    }
  }
}

/// A host whose ranks plan to use more memory than they may.
package struct MemoryShortage: Equatable, Sendable {
  package var host: String
  package var ranks: Int
  package var plannedBytes: Int
  package var limit: MemoryLimit

  /// The host that lacks most; nil where none lacks any.
  ///
  /// - Parameters: by rank its host, the bytes it plans to use and what its host allows.
  package init?(hosts: [String], planned: [Int], limits: [MemoryLimit?]) {
    var found: [String: MemoryShortage] = [:]
    for (rank, host) in hosts.enumerated() {
      guard let limit = limits[rank] else { continue }
      var sum = found[host] ?? MemoryShortage(host, limit)
      sum.ranks += 1
      sum.plannedBytes += planned[rank]
      // Ranks that Slurm started apart may have limits of their own.
      if limit.byteCount < sum.limit.byteCount { sum.limit = limit }
      found[host] = sum
    }
    func lack(_ sum: MemoryShortage) -> Int { sum.plannedBytes - sum.limit.byteCount }
    let worst = found.values.max { (lack($0), $1.host) < (lack($1), $0.host) }
    guard let worst, lack(worst) > 0 else { return nil }
    self = worst
  }

  private init(_ host: String, _ limit: MemoryLimit) {
    self.host = host
    self.limit = limit
    (ranks, plannedBytes) = (0, 0)
  }
}

/// Hears what a run has to say; only rank 0 tells.
package protocol TrainingObserver {
  func began(_ description: RunDescription)
  func stepped(_ record: StepRecord)
  func validated(_ record: ValidationRecord)
  func saved(_ record: SaveRecord)
  /// One line about something out of the ordinary.
  func noticed(_ line: String)
}
