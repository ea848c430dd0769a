import Core
import Foundation
import Models
import Testing

import Training

/// The failure a piece of YAML or an argument ends in; nil when it decodes.
func configurationFailure(_ yaml: String, _ overrides: [String] = []) -> Failure? {
  do {
    _ = try RunConfiguration.decode(yaml: yaml, name: "c.yaml", overrides: overrides)
    return nil
  } catch {
    return error
  }
}

let repositoryRoot = URL(fileURLWithPath: #filePath)
  .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

@Suite struct ConfigurationTests {
  static let minimal = "data: {path: d}\n"

  @Test func anEmptyRunIsThePapersBaseModel() throws {
    let configuration = try RunConfiguration.decode(yaml: Self.minimal, name: "c.yaml")
    var expected = RunConfiguration()
    expected.data.path = "d"
    #expect(configuration == expected)
    #expect(configuration.shape(vocabularySize: 37_000) == TransformerShape(vocabularySize: 37_000))
  }

  @Test func everyGroupReachesItsFields() throws {
    let yaml = """
      seed: 18446744073709551615
      data: {path: "a b", maximum_length: 28}
      model:
        heads: 4
        dimension: 256
        norm: pre
        positions: learned
        attention_bias: true
      schedule: {kind: inverse_sqrt, peak: 7e-4}
      parallel: {replicas: 3}
      runtime: {blas_kernels: Haswell}
      """
    let configuration = try RunConfiguration.decode(
      yaml: yaml, name: "c.yaml", overrides: ["batch.lanes=16", "batch.lanes=4", "seed=7"])
    #expect(configuration.seed == 7)
    #expect(configuration.data.path == "a b")
    #expect(configuration.data.maximumLength == 28)
    #expect(configuration.model.norm == .pre)
    #expect(configuration.model.positions == .learned)
    #expect(configuration.model.attentionBias)
    #expect(configuration.model.keyDimension == 64)
    #expect(configuration.schedule.kind == .inverseSqrt)
    #expect(configuration.schedule.peak == 7e-4)
    #expect(configuration.batch.lanes == 4)
    #expect(configuration.parallel.replicas == 3)
    #expect(configuration.runtime.blasKernels == "Haswell")
  }

  @Test func keyDimensionFollowsDimensionAndHeadsUnlessWritten() throws {
    let derived = try RunConfiguration.decode(
      yaml: Self.minimal, name: "c.yaml", overrides: ["model.heads=16"])
    #expect(derived.model.keyDimension == 32)
    let written = try RunConfiguration.decode(
      yaml: Self.minimal, name: "c.yaml",
      overrides: ["model.heads=3", "model.key_dimension=5", "model.value_dimension=7"])
    #expect(written.model.keyDimension == 5)
    #expect(written.model.valueDimension == 7)
  }

  @Test func theResolvedTextDecodesToTheSameConfiguration() throws {
    let overrides = [
      ["schedule.kind=cosine", "schedule.peak=0.1", "schedule.final=1e-7"],
      [
        "data.path=null x", "data.maximum_length=null", "optimizer.epsilon=1.2345678901234567e-30",
      ],
      ["data.path=\"quoted\" \\ # : ü", "parallel.replicas=auto", "seed=18446744073709551615"],
      ["data.path=~", "model.dropout=0.30000000000000004"],
      ["data.path=12", "runtime.blas_kernels=SkylakeX"],
    ]
    for arguments in overrides {
      let changed = configurationFailure(Self.minimal, arguments)
      if arguments[0] == "data.path=~" {
        #expect(changed != nil)
        continue
      }
      let first = try RunConfiguration.decode(
        yaml: Self.minimal, name: "c.yaml", overrides: arguments)
      let second = try RunConfiguration.decode(yaml: first.resolvedYAML, name: "resolved")
      #expect(second == first)
      #expect(second.resolvedYAML == first.resolvedYAML)
    }
  }

  @Test func theResolvedTextNamesAndExplainsEveryKey() throws {
    let text = try RunConfiguration.decode(yaml: Self.minimal, name: "c.yaml").resolvedYAML
    let entries = try ConfigurationDocument(yaml: text, name: "resolved").entries
    #expect(Set(entries.map(\.path)) == Set(ConfigurationKey.all.map(\.path)))
    for key in ConfigurationKey.all {
      #expect(text.contains("# \(key.documentation)\n"))
    }
    #expect(text.split(separator: "\n").allSatisfy { $0.count <= 100 })
  }

  @Test(arguments: ["quickstart", "en-de-small", "transformer-base", "transformer-big", "copy"])
  func everyShippedConfigurationDecodes(name: String) throws {
    let path = repositoryRoot.appending(path: "configs/\(name).yaml").path
    let configuration = try RunConfiguration.load(path: path)
    #expect(configuration.data.path.hasPrefix("data/"))
  }

  @Test func thePapersModelsAreComplete() throws {
    for (name, dimension) in [("transformer-base", 512), ("transformer-big", 1024)] {
      let path = repositoryRoot.appending(path: "configs/\(name).yaml").path
      let yaml = try String(contentsOfFile: path, encoding: .utf8)
      let entries = try ConfigurationDocument(yaml: yaml, name: name).entries
      #expect(Set(entries.map(\.path)) == Set(ConfigurationKey.all.map(\.path)))
      let shape = try RunConfiguration.load(path: path).shape(vocabularySize: 37_000)
      #expect(shape.dimension == dimension)
      #expect(shape.feedForwardDimension == 4 * dimension)
      #expect(shape.heads * shape.keyDimension == dimension)
    }
  }

  @Test func aMissingFileIsMissingInput() {
    #expect(throws: Failure(.missingInput, "/no/such.yaml: no such configuration file")) {
      try RunConfiguration.load(path: "/no/such.yaml")
    }
  }

  @Test func filesThatAreNoConfigurationAreRefused() throws {
    try withTemporaryFolder { folder throws in
      let path = folder + "/c.yaml"
      func code(_ bytes: [UInt8]) throws -> ExitCode? {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        do throws(Failure) {
          _ = try RunConfiguration.load(path: path)
          return nil
        } catch {
          return error.exitCode
        }
      }
      #expect(try code([]) == .configuration)
      #expect(try code(Array("data: {path: \u{FF}}".utf8)) == nil)
      #expect(try code([0x64, 0xFF, 0xFE]) == .configuration)
      #expect(try code(Array(repeating: 0x20, count: (1 << 20) + 1)) == .configuration)
      #expect(try code(Array("\u{FEFF}data:\r\n  path: d\r\n".utf8)) == nil)
    }
    #expect(throws: Failure.self) { try RunConfiguration.load(path: "/proc") }
    #expect(throws: Failure.self) { try RunConfiguration.load(path: "/dev/zero") }
  }

  @Test func aRunIsContinuedOnlyWithTheSameSteps() throws {
    let saved = try RunConfiguration.decode(yaml: Self.minimal, name: "c.yaml")
    let free = try saved.applying([
      "train.steps=5", "checkpoint.every=7", "data.path=elsewhere", "parallel.replicas=2",
      "runtime.blas_kernels=Haswell", "evaluation.every=3", "train.log_every=1",
    ])
    #expect(free.differences(from: saved).count == 7)
    try free.requireContinuation(of: saved, at: "runs/x")

    let binding = try saved.applying([
      "batch.lanes=4", "model.dropout=0.2", "train.steps=9", "schedule.factor=2",
    ])
    for takesSchedule in [false, true] {
      #expect {
        try binding.requireContinuation(of: saved, at: "runs/x", takesSchedule: takesSchedule)
      } throws: { error in
        let message = (error as? Failure)?.message ?? ""
        return message.contains("batch.lanes: 8 -> 4, model.dropout: 0.1 -> 0.2")
          && message.contains("schedule.factor") == !takesSchedule && !message.contains("steps:")
          && !message.contains("--new-schedule")
      }
    }
    #expect(saved.differences(from: saved).isEmpty)
  }

  @Test func theLearningRateChangesIfSomebodySaysSo() throws {
    let saved = try RunConfiguration.decode(yaml: Self.minimal, name: "c.yaml")
    let changed = try saved.applying(["schedule.warmup_steps=7", "train.log_every=1"])
    #expect {
      try changed.requireContinuation(of: saved, at: "runs/x")
    } throws: {
      ($0 as? Failure)?.message.contains("--new-schedule") == true
    }
    let changes = try changed.requireContinuation(of: saved, at: "runs/x", takesSchedule: true)
    #expect(changes.map(\.description) == ["schedule.warmup_steps: 4000 -> 7"])
  }

  @Test func theEndOfAScheduleIsPartOfIt() throws {
    let cosine = try RunConfiguration.decode(
      yaml: Self.minimal, name: "c.yaml", overrides: ["schedule.kind=cosine", "schedule.peak=1e-3"])
    let longer = try cosine.applying(["train.steps=200000"])
    #expect(throws: Failure.self) { try longer.requireContinuation(of: cosine, at: "runs/x") }
    try longer.requireContinuation(of: cosine, at: "runs/x", takesSchedule: true)
  }
}
