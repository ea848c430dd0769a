import Checkpoints
import Core
import Datasets
import Foundation
import Logging
import Messaging
import Parallelism
import Tensors

extension Trainer {
  /// Opens data and run directory and takes the newest checkpoint that verifies, or initial
  /// weights.
  ///
  /// - Parameter takesSchedule: whether a run may go on with another learning rate than it was
  ///   saved with.
  /// Collective. Throws: the same `Failure` on every rank, so that one of them can report it.
  package static func open(
    _ configuration: RunConfiguration, run root: String, takesSchedule: Bool = false,
    commandLine: [String], communicator: any Communicator, observer: any TrainingObserver
  ) throws(Failure) -> Trainer {
    try checkRanks(configuration, communicator.size)
    try checkKernels(communicator)
    let paths = RunPaths(root: root)
    // Before anything is made: a run without its data leaves no folder.
    let opened = try communicator.openDataset(configuration.data.path, paths)
    let inputs = try communicator.together { () throws(Failure) in
      try RunInputs(configuration, opened.dataset)
    }
    let isFirst = communicator.rank == 0
    let directory = try communicator.together { () throws(Failure) in
      isFirst ? try RunDirectory(root: root) : nil
    }
    try communicator.together { () throws(Failure) in
      try FaultPoint.arm(rank: communicator.rank) {
        (try? RunDirectory.lastIncarnation(of: paths)) ?? 0
      }
    }
    FaultPoint.start.reached(step: 0)
    let logger = try communicator.together { () throws(Failure) in
      try RankLogHandler.logger(paths, rank: communicator.rank)
    }
    try communicator.together { () throws(Failure) in
      try communicator.waits.start(limitSeconds: configuration.runtime.stallSeconds) { line, step in
        StandardError.say(line)
        logger.warning("\(line)", metadata: ["step": "\(step)"])
      }
    }
    let store = CheckpointStore(folder: paths.checkpoints) { () throws(Failure) in
      try directory?.requireInPlace()
    }
    try communicator.rehearseSave(into: store, directory)
    let engine = try StepEngine.together(
      inputs.model, bounds: inputs.bounds, configuration, communicator: communicator)
    FaultPoint.setFlip { [weights = engine.weights, index = engine.plan.firstOwnParameter] in
      weights.base[index] = Float(bitPattern: weights.base[index].bitPattern ^ 1 << 16)
    }
    let resumed = try resume(
      inputs, engine, store, communicator, observer, directory
    ) { (checkpoint: Checkpoint) throws(Failure) in
      try requireContinuation(
        configuration, inputs, of: checkpoint, root: root, takesSchedule: takesSchedule)
    }
    // The shards the first step needs, before anything is said or made.
    try communicator.together { () throws(Failure) in
      _ = try inputs.loader.plan(position: resumed?.progress.position ?? 0)
    }
    let provenance = [
      "generator": "lockstep \(lockstepVersion)", "host": communicator.hostName,
      "blas_kernels": KernelSet.blasCore, "bf16_kernels": ReducedProducts.kernels ?? "none",
      "ranks": "\(communicator.size)",
      "command_line": commandLine.joined(separator: " "),
    ]
    let publisher = directory.map { directory in
      Publisher(
        store: store, retention: configuration.checkpoint.retention,
        runIdentifier: resumed?.runIdentifier ?? UUID().uuidString.lowercased(),
        incarnation: directory.incarnation, configuration: configuration,
        tokenizerModel: inputs.dataset.tokenizer.bytes,
        datasetDigest: "\(inputs.dataset.digest)",
        contentDigest: "\(inputs.dataset.contentDigest)", provenance: provenance)
    }
    try communicator.together { () throws(Failure) in
      try directory?.save(configuration)
    }
    if directory != nil { opened.keep(in: paths, observer.noticed) }
    let trainer = try communicator.together { () throws(Failure) in
      try Trainer(
        configuration, communicator: communicator, observer: observer, inputs: inputs,
        engine: engine, logger: logger, directory: directory, publisher: publisher,
        progress: resumed?.progress ?? Progress())
    }
    try trainer.tellBeginning(root, resumed?.progress.step)
    if resumed == nil {
      for range in engine.weightsToFill {
        inputs.model.layout.initialize(engine.weights, in: range, seed: configuration.seed)
      }
    }
    try communicator.nodeBarrier()
    return trainer
  }

  private static func checkRanks(_ configuration: RunConfiguration, _ ranks: Int) throws(Failure) {
    let stages = configuration.parallel.stages
    if let replicas = configuration.parallel.replicas, replicas * stages != ranks {
      throw Failure(
        .configuration,
        "parallel.replicas: expected \(replicas * stages) ranks for \(replicas) replicas of"
          + " \(stages) stages, found \(ranks); start mpirun -np \(replicas * stages) or set it"
          + " to auto")
    }
    let grid = try ProcessGrid(nodeOfRank: Array(repeating: 0, count: ranks), stages: stages)
    _ = try LaneAssignment(lanes: configuration.batch.lanes, replicas: grid.replicas)
  }

  /// Kernels round each in their own way: were they not the same everywhere, the bits of a step
  /// would depend on who computes what.
  private static func checkKernels(_ communicator: any Communicator) throws(Failure) {
    let mine = (["OpenBLAS \(KernelSet.blasCore)"] + (ReducedProducts.kernels.map { [$0] } ?? []))
      .joined(separator: " and ")
    let all = try communicator.allGather(bytes: Array("\(communicator.hostName): \(mine)".utf8))
      .map { String(decoding: $0, as: UTF8.self) }
    let kernels = all.map { $0.drop { $0 != ":" } }
    guard let other = kernels.firstIndex(where: { $0 != kernels[0] }) else { return }
    throw Failure(
      .configuration,
      "expected the same kernels on every rank, found on rank 0 \(all[0]), on rank \(other)"
        + " \(all[other]); runtime.blas_kernels names a set that every CPU has, and"
        + " precision.compute=fp32 needs no other instructions")
  }

  private struct Resumed {
    let progress: Progress
    let runIdentifier: String
  }

  /// Restores the newest checkpoint that verifies; nil in a new run.
  ///
  /// Collective: rank 0 chooses and checks, then every rank reads.
  /// - Parameter changes: refuses a checkpoint that does not fit; what it returns is told.
  private static func resume(
    _ inputs: RunInputs, _ engine: StepEngine, _ store: CheckpointStore,
    _ communicator: any Communicator, _ observer: any TrainingObserver, _ directory: RunDirectory?,
    changes: (Checkpoint) throws(Failure) -> [RunConfiguration.Difference]
  ) throws(Failure) -> Resumed? {
    let newest = try communicator.together { () throws(Failure) -> Checkpoint? in
      guard let directory else { return nil }
      let found = try store.newestVerified { (line: String) in
        directory.events.append(.fault, [.init("fault", .string(line))])
        observer.noticed(line)
      }
      guard let found else { return nil }
      let changes = try changes(found).map(\.description)
      if !changes.isEmpty {
        let step = found.header.step
        directory.events.append(
          .change,
          [.init("step", .integer(step)), .init("changes", .array(changes.map { .string($0) }))])
        observer.noticed(
          "another learning rate after step \(step): \(changes.joined(separator: ", "))")
      }
      let kernelChanges = KernelSelection.changes(
        since: found.header.provenance, blas: KernelSet.blasCore, reduced: ReducedProducts.kernels)
      for sentence in kernelChanges { observer.noticed(sentence) }
      return found
    }
    // Verified once is enough: the others compare a digest instead of reading every byte again.
    let path = try communicator.broadcast(newest?.path ?? "")
    let digest = try communicator.broadcast(newest?.digest ?? "")
    guard !path.isEmpty else { return nil }
    return try communicator.together { () throws(Failure) in
      let checkpoint =
        if let newest { newest } else { try Checkpoint(folder: path, verifiedElsewhere: digest) }
      return Resumed(
        progress: try engine.restore(checkpoint), runIdentifier: checkpoint.header.runIdentifier)
    }
  }

  private static func requireContinuation(
    _ configuration: RunConfiguration, _ inputs: RunInputs, of checkpoint: Checkpoint,
    root: String, takesSchedule: Bool
  ) throws(Failure) -> [RunConfiguration.Difference] {
    let header = checkpoint.header
    guard header.tokenizerDigest == inputs.dataset.tokenizer.digest else {
      throw Failure(
        .badData,
        "\(inputs.dataset.path): its tokenizer (\(inputs.dataset.vocabularySize) pieces) is not the"
          + " one \(checkpoint.path) was trained with; use the same dataset or another --run")
    }
    if let difference = inputs.dataset.difference(from: header, RunPaths(root: root)) {
      throw Failure(
        .badData,
        "\(inputs.dataset.path): is not the dataset \(checkpoint.path) was trained on"
          + " (\(difference)); use that or another --run"
      )
    }
    // Readers take no larger ones: what is trained from there on could not be saved.
    for (name, value) in [("position", header.position), ("tokens_seen", header.tokensSeen)] {
      guard value < 1 << 52 else {
        throw Failure(
          .badData,
          "\(checkpoint.path): /state has \(name) \(value), from which no run can go on; use"
            + " another --run")
      }
    }
    let saved = try RunConfiguration.decode(
      yaml: header.configurationYAML, name: "\(checkpoint.path)/checkpoint.h5:/configuration/yaml")
    return try configuration.requireContinuation(
      of: saved, at: root, takesSchedule: takesSchedule)
  }

  /// Tells what is about to happen. Collective.
  private func tellBeginning(_ root: String, _ resumedStep: Int?) throws(Failure) {
    let hosts = try communicator.allGather(bytes: Array(communicator.hostName.utf8)).map {
      String(decoding: $0, as: UTF8.self)
    }
    let parts = engine.memory
    let memory = try communicator.allGather(parts.map { Double($0.byteCount) })
    let limits = try memoryLimits()
    logger.info("rank \(communicator.rank) of \(communicator.size) on \(communicator.hostName)")
    guard let directory else { return }
    directory.events.append(
      .start,
      [
        .init("version", .string(lockstepVersion)), .init("ranks", .integer(communicator.size)),
        .init("blas_kernels", .string(KernelSet.blasCore)),
        .init("bf16_kernels", ReducedProducts.kernels.map { .string($0) } ?? .null),
        .init("step", .integer(resumedStep ?? 0)), .init("memory_plan", plan(parts, memory)),
      ])
    observer.began(
      RunDescription(
        runPath: root, resumedStep: resumedStep, ranks: communicator.size, hosts: Set(hosts).count,
        lanes: configuration.batch.lanes, blasKernels: KernelSet.blasCore,
        reducedProducts: ReducedProducts.kernels, model: configuration.model,
        parameterCount: inputs.model.layout.count,
        dataPath: inputs.dataset.path, trainingPairs: inputs.loader.pairCount,
        excludedPairs: inputs.loader.excludedCount,
        validationPairs: inputs.validation.pairCount,
        vocabularySize: inputs.dataset.vocabularySize, tokensPerStep: configuration.batch.tokens,
        schedule: configuration.parallel.schedule.rawValue, stages: stages(parts, memory),
        shortage: MemoryShortage(
          hosts: hosts, planned: memory.map { Int($0.reduce(0, +)) }, limits: limits)))
  }

  /// What each rank's host allows, by rank. Collective.
  private func memoryLimits() throws(Failure) -> [MemoryLimit?] {
    let own = MemoryLimit.own()
    let isJobs = own?.owner == .job ? 1.0 : 0
    return try communicator.allGather(own.map { [Double($0.byteCount), isJobs] } ?? [0, 0]).map {
      $0[0] > 0 ? MemoryLimit(byteCount: Int($0[0]), owner: $0[1] > 0 ? .job : .machine) : nil
    }
  }

  private func stages(
    _ parts: [(name: String, byteCount: Int)], _ memory: [[Double]]
  ) -> [RunDescription.StageDescription] {
    let plan = engine.plan
    let layers = plan.partition.stageDescriptions(encoderBlocks: inputs.model.shape.encoderLayers)
    return layers.enumerated().map { stage, layers in
      let ranks = plan.grid.ranks(ofStage: stage)
      let largest: [Double] =
        ranks.map { memory[$0] }.max { $0.reduce(0, +) < $1.reduce(0, +) } ?? []
      let planned = zip(parts, largest).map { part, bytes in
        RunDescription.MemoryPart(part.name, Int(bytes))
      }
      return RunDescription.StageDescription(layers: layers, memory: planned)
    }
  }

  /// Bytes by purpose, for each rank.
  private func plan(
    _ parts: [(name: String, byteCount: Int)], _ memory: [[Double]]
  ) -> JSONValue {
    .array(
      memory.map { rank in
        .object(zip(parts, rank).map { .init($0.name, .integer(Int($1))) })
      })
  }
}
