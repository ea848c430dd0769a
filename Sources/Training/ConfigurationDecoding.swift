import Core
import Foundation

extension RunConfiguration {
  /// Reads a configuration file and applies `key.path=value` arguments over it.
  ///
  /// Throws: `Failure` (.missingInput, .inputOutput; .configuration with file, line and nearest key
  /// or with the argument at fault; .usage for an argument that is no assignment).
  package static func load(
    path: String, overrides: [String] = []
  ) throws(Failure) -> RunConfiguration {
    let bytes = try ConfigurationFile.bytes(of: path)
    guard let yaml = String(validating: bytes, as: UTF8.self) else {
      throw Failure(.configuration, "\(path): the configuration file is not UTF-8 text")
    }
    return try decode(yaml: yaml, name: path, overrides: overrides)
  }

  /// Decodes YAML text and `key.path=value` arguments; the last of several assignments wins.
  ///
  /// `name` is the file that failures point at. Throws: as `load`.
  package static func decode(
    yaml: String, name: String, overrides: [String] = []
  ) throws(Failure) -> RunConfiguration {
    var decoder = ConfigurationDecoder(name: name)
    for entry in try ConfigurationDocument(yaml: yaml, name: name).entries {
      try decoder.assign(entry.path, entry.scalar, at: "\(name):\(entry.line)")
    }
    for override in overrides {
      try decoder.assign(argument: override)
    }
    return try decoder.finish()
  }

  /// This configuration with `key.path=value` arguments applied: how a saved run is continued.
  package func applying(_ overrides: [String]) throws(Failure) -> RunConfiguration {
    var decoder = ConfigurationDecoder(name: "the run's configuration", configuration: self)
    for override in overrides {
      try decoder.assign(argument: override)
    }
    return try decoder.finish()
  }
}

/// Collects assignments and remembers where each came from, for failures that are found later.
struct ConfigurationDecoder {
  private let name: String
  private var configuration: RunConfiguration
  private var origins: [String: String] = [:]
  /// A configuration that was complete before keeps its per-head dimensions.
  private let startsComplete: Bool

  init(name: String, configuration: RunConfiguration? = nil) {
    self.name = name
    self.configuration = configuration ?? RunConfiguration()
    startsComplete = configuration != nil
  }

  mutating func assign(argument: String) throws(Failure) {
    guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex else {
      throw Failure(.usage, "argument '\(argument)': expected key.path=value")
    }
    let path = String(argument[..<equals])
    let text = String(argument[argument.index(after: equals)...])
    try assign(path, ScalarText(text: text), at: "argument '\(argument)'")
  }

  mutating func assign(_ path: String, _ scalar: ScalarText, at place: String) throws(Failure) {
    guard let key = ConfigurationKey.byPath[path] else {
      throw Failure(.configuration, "\(place): \(unknownKey(path))")
    }
    guard key.assign(scalar, &configuration) else {
      let found = scalar.text.isEmpty ? "nothing" : "'\(abbreviated(scalar.text))'"
      let kind = scalar.isQuoted && !scalar.text.isEmpty ? "the quoted text " : ""
      throw Failure(
        .configuration, "\(place): \(path): expected \(key.expectation), found \(kind)\(found)")
    }
    origins[path] = place
  }

  /// Fills in what follows from other keys and checks keys against each other.
  mutating func finish() throws(Failure) -> RunConfiguration {
    let model = configuration.model
    let perHead = ["model.key_dimension", "model.value_dimension"]
    let missing = startsComplete ? [] : perHead.filter { origins[$0] == nil }
    if !missing.isEmpty {
      try require(
        model.dimension.isMultiple(of: model.heads), "model.heads",
        "model.dimension \(model.dimension) is not a multiple of \(model.heads) heads;"
          + " change one or set \(missing.joined(separator: " and "))")
      for path in missing {
        _ = ConfigurationKey.byPath[path]?.assign(
          ScalarText(text: "\(model.dimension / model.heads)"), &configuration)
      }
    }
    try check()
    return configuration
  }

  private func check() throws(Failure) {
    let model = configuration.model
    let batch = configuration.batch
    let schedule = configuration.schedule
    try require(
      !configuration.data.path.isEmpty, "data.path",
      "data.path is missing: the folder that lockstep prepare made")
    try require(
      model.positions == .learned || model.dimension.isMultiple(of: 2), "model.dimension",
      "model.dimension is \(model.dimension), but sinusoidal positions need an even one")
    try require(
      batch.lanes.nonzeroBitCount == 1, "batch.lanes",
      "batch.lanes is \(batch.lanes), but must be a power of two")
    try require(
      batch.tokens >= batch.lanes * batch.microBatches, "batch.tokens",
      "batch.tokens is \(batch.tokens), but \(batch.lanes) lanes of \(batch.microBatches)"
        + " micro-batches need at least \(batch.lanes * batch.microBatches)")
    try require(
      configuration.parallel.replicas ?? 1 <= batch.lanes, "parallel.replicas",
      "parallel.replicas is \(configuration.parallel.replicas ?? 1), but there are only"
        + " \(batch.lanes) lanes (batch.lanes) to share")
    try require(
      configuration.parallel.exchange != .mpi || configuration.parallel.stages == 1,
      "parallel.exchange",
      "parallel.exchange mpi sums over all ranks, but parallel.stages"
        + " \(configuration.parallel.stages) gives them different parameters; use shared")
    try require(
      configuration.optimizer.kind == .adamw || configuration.optimizer.weightDecay == 0,
      "optimizer.weight_decay",
      "optimizer.weight_decay is \(configuration.optimizer.weightDecay), but only optimizer.kind"
        + " adamw has any")
    try require(
      schedule.kind == .noam || schedule.peak != nil, "schedule.kind",
      "schedule.kind \(schedule.kind.rawValue) needs schedule.peak, the learning rate at the end"
        + " of the rise")
    try require(
      schedule.final <= schedule.peak ?? .infinity, "schedule.final",
      "schedule.final \(schedule.final) is above schedule.peak \(schedule.peak ?? 0)")
    let endsWithTraining = schedule.kind == .linear || schedule.kind == .cosine
    try require(
      !endsWithTraining || schedule.warmupSteps < configuration.train.steps,
      "schedule.warmup_steps",
      "schedule.warmup_steps is \(schedule.warmupSteps), but \(schedule.kind.rawValue) must have"
        + " steps left to fall in (train.steps \(configuration.train.steps))")
  }

  /// Throws, with the place where `path` was set, unless `condition` holds.
  private func require(
    _ condition: Bool, _ path: String, _ message: @autoclosure () -> String
  ) throws(Failure) {
    guard !condition else { return }
    throw Failure(.configuration, "\(origins[path] ?? name): \(message())")
  }

  private func unknownKey(_ path: String) -> String {
    if ConfigurationKey.groups.contains(where: { $0.name == path }) {
      return "'\(path)' is a group of keys, not a value"
    }
    let sentence = "unknown key '\(abbreviated(path))'"
    guard let nearest = nearestName(to: path, in: ConfigurationKey.all.map(\.path)) else {
      return sentence
    }
    return "\(sentence), did you mean '\(nearest)'?"
  }

  /// At most 60 characters on one line; escape sequences must not reach a terminal.
  private func abbreviated(_ text: String) -> String {
    let shown = text.prefix(60).unicodeScalars.map { scalar in
      scalar.properties.generalCategory == .control ? " " : String(scalar)
    }
    let isCut = text.dropFirst(60).first != nil
    return shown.joined() + (isCut ? "..." : "")
  }
}
