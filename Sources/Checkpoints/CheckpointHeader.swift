import Core
import HDF5

/// Everything of a training state that is not a tensor, and where it came from.
package struct CheckpointHeader: Equatable, Sendable {
  package var step: Int
  /// Sentence pairs consumed since the start of the run: the loader's position.
  package var position: Int
  package var tokensSeen: Int
  /// Updates that were skipped right before this state because nothing was finite.
  package var skippedInARow = 0
  package var seed: UInt64
  package var lanes: Int
  /// Counts the launches of a run, so that a forgotten old one cannot publish.
  package var incarnation: Int
  package var runIdentifier: String
  /// Of this state, when it has been measured and is finite: cross-entropy a token.
  package internal(set) var validationLoss: Double?
  /// The resolved configuration.
  package var configurationYAML: String
  /// The sentencepiece model, whole, so that a checkpoint translates without its dataset.
  package var tokenizerModel: [UInt8]
  /// What the dataset was called by.
  package var datasetDigest: String
  /// Of what decided the steps; nil in checkpoints of before there was one.
  package var contentDigest: String?
  /// Free facts: created, generator, host, kernel set, ranks, command line.
  package var provenance: [String: String]

  package init(
    step: Int, position: Int = 0, tokensSeen: Int = 0, seed: UInt64 = 1, lanes: Int = 1,
    incarnation: Int = 0, runIdentifier: String = "", validationLoss: Double? = nil,
    configurationYAML: String = "", tokenizerModel: [UInt8] = [], datasetDigest: String = "",
    contentDigest: String? = nil, provenance: [String: String] = [:]
  ) {
    self.step = step
    self.position = position
    self.tokensSeen = tokensSeen
    self.seed = seed
    self.lanes = lanes
    self.incarnation = incarnation
    self.runIdentifier = runIdentifier
    // A loss that is not finite is nobody's best, and JSON cannot write it.
    self.validationLoss = validationLoss.flatMap { $0.isFinite ? $0 : nil }
    self.configurationYAML = configurationYAML
    self.tokenizerModel = tokenizerModel
    self.datasetDigest = datasetDigest
    self.contentDigest = contentDigest
    self.provenance = provenance
  }

  package var tokenizerDigest: Digest { Digest(of: tokenizerModel) }
  package var configurationDigest: Digest { Digest(of: configurationYAML) }
}

/// Names and constants of the file format; a reader refuses a version above its own.
enum Format {
  static let name = "lockstep-checkpoint"
  static let manifest = "lockstep-checkpoint-manifest"
  static let version = 1
  static let dataFile = "checkpoint.h5"
  static let manifestFile = "manifest.json"
  static let configuration = "/configuration/yaml"
  static let tokenizer = "/tokenizer/model"
  static let tensorOrder = "/state/tensor_order"
}

extension CheckpointHeader {
  /// Writes everything but the tensors into the skeleton of a checkpoint.
  func write(to file: borrowing File, parameterCount: Int) throws(Failure) {
    try file.setAttribute("format", to: .text(Format.name))
    try file.setAttribute("format_version", to: .signed(Int64(Format.version)))
    try file.setAttribute("step", to: .signed(Int64(step)))
    try file.setAttribute("parameter_count", to: .signed(Int64(parameterCount)))

    try file.createGroup("/state")
    let integers = [
      ("step", step), ("position", position), ("tokens_seen", tokensSeen), ("lanes", lanes),
      ("incarnation", incarnation),
    ]
    for (name, value) in integers {
      try file.setAttribute(name, of: "/state", to: .signed(Int64(value)))
    }
    if skippedInARow > 0 {
      try file.setAttribute("skipped_in_a_row", of: "/state", to: .signed(Int64(skippedInARow)))
    }
    try file.setAttribute("seed", of: "/state", to: .unsigned(seed))
    try file.setAttribute("run_identifier", of: "/state", to: .text(runIdentifier))
    if let validationLoss {
      try file.setAttribute("validation_loss", of: "/state", to: .real(validationLoss))
    }
    try file.setAttribute("dataset_digest", of: "/state", to: .text(datasetDigest))
    if let contentDigest {
      try file.setAttribute("content_digest", of: "/state", to: .text(contentDigest))
    }
    try file.setAttribute(
      "tokenizer_digest", of: "/state", to: .text(tokenizerDigest.description))

    try file.writeText(configurationYAML, to: Format.configuration)
    try file.write(tokenizerModel, to: Format.tokenizer)
    try file.createGroup("/provenance")
    for (name, value) in provenance.sorted(by: { $0.key < $1.key }) {
      // Attributes hold 64 KB; a dataset any length.
      try file.writeText(value, to: "/provenance/" + name)
    }
  }

  /// The largest tokenizer in use has a hundredth of it; a sparse file may claim any size.
  private static let tokenizerByteLimit = 64 << 20

  private static func tokenizerModel(in file: StoredFile) throws(Failure) -> [UInt8] {
    let dataset = try file.dataset(Format.tokenizer)
    guard dataset.count <= tokenizerByteLimit else {
      throw Failure(
        .badData,
        "\(file.path): has a tokenizer of \(dataset.count) bytes; at most "
          + "\(tokenizerByteLimit) were expected")
    }
    return try dataset.read()
  }

  /// Reads what `write` wrote.
  ///
  /// Throws: `Failure(.badData)` for a file of another kind or a newer version.
  init(from file: StoredFile) throws(Failure) {
    guard case .text(Format.name)? = file.attribute("format") else {
      throw Failure(
        .badData, "\(file.path): is HDF5 but not a checkpoint of Lockstep (attribute format)")
    }
    let version = try file.integerAttribute("format_version")
    guard version >= 1 else {
      throw Failure(.badData, "\(file.path): has checkpoint format \(version), which is none")
    }
    guard version <= Format.version else {
      throw Failure(
        .badData,
        "\(file.path): has checkpoint format \(version), this Lockstep reads up to "
          + "\(Format.version); use a newer one")
    }
    func integer(_ name: String) throws(Failure) -> Int {
      let value = try file.integerAttribute(name, of: "/state")
      // Whatever counts with these numbers must not overflow, whoever wrote them.
      guard (0..<1 << 53).contains(value) else {
        throw Failure(.badData, "\(file.path): /state has \(name) \(value), which no run reaches")
      }
      return value
    }
    guard case .unsigned(let seed)? = file.attribute("seed", of: "/state") else {
      throw Failure(.badData, "\(file.path): has no seed in /state")
    }
    var provenance: [String: String] = [:]
    for name in file.children(of: "/provenance") {
      provenance[name] = try file.readText("/provenance/" + name)
    }
    var contentDigest: String?
    if file.attribute("content_digest", of: "/state") != nil {
      contentDigest = try file.textAttribute("content_digest", of: "/state")
    }
    var validationLoss: Double?
    if case .real(let loss)? = file.attribute("validation_loss", of: "/state") {
      validationLoss = loss
    }
    self.init(
      step: try integer("step"), position: try integer("position"),
      tokensSeen: try integer("tokens_seen"), seed: seed, lanes: try integer("lanes"),
      incarnation: try integer("incarnation"),
      runIdentifier: try file.textAttribute("run_identifier", of: "/state"),
      validationLoss: validationLoss,
      configurationYAML: try file.readText(Format.configuration),
      tokenizerModel: try CheckpointHeader.tokenizerModel(in: file),
      datasetDigest: try file.textAttribute("dataset_digest", of: "/state"),
      contentDigest: contentDigest,
      provenance: provenance)
    if file.attribute("skipped_in_a_row", of: "/state") != nil {
      skippedInARow = try integer("skipped_in_a_row")
    }
  }
}
