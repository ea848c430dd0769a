import Core
import Foundation
import Testing

import Training

@Suite struct ConfigurationFailureTests {
  @Test(arguments: [
    ("a:\n", "c.yaml:1: unknown key 'a'"),
    (
      "data: {path: d}\n\nmodel:\n  n_heads: 8\n",
      "c.yaml:4: unknown key 'model.n_heads', did you mean 'model.heads'?"
    ),
    ("modle:\n  heads: 8\n", "c.yaml:2: unknown key 'modle.heads', did you mean 'model.heads'?"),
    (
      "train:\n  tokens: 8\n", "c.yaml:2: unknown key 'train.tokens', did you mean 'batch.tokens'?"
    ),
    ("sed: 1\n", "c.yaml:1: unknown key 'sed', did you mean 'seed'?"),
    ("model: 3\n", "c.yaml:1: 'model' is a group of keys, not a value"),
    ("seed: {a: 1}\n", "c.yaml:1: 'seed' takes a value, not a group of keys"),
    ("seed: [1]\n", "c.yaml:1: 'seed' takes no list"),
    ("- seed\n", "c.yaml:1: expected groups of 'key: value'"),
    ("seed: one\n", "c.yaml:1: seed: expected a whole number of at least 0, found 'one'"),
    ("seed: -1\n", "c.yaml:1: seed: expected a whole number of at least 0, found '-1'"),
    ("seed:\n", "c.yaml:1: seed: expected a whole number of at least 0, found nothing"),
    (
      "seed: \"1\"\n",
      "c.yaml:1: seed: expected a whole number of at least 0, found the quoted text '1'"
    ),
    (
      "model: {dropout: nan}\n",
      "c.yaml:1: model.dropout: expected a number from 0 to below 1, found 'nan'"
    ),
    (
      "model: {dropout: 1}\n",
      "c.yaml:1: model.dropout: expected a number from 0 to below 1, found '1'"
    ),
    (
      "model:\n  norm: middle\n", "c.yaml:2: model.norm: expected post or pre, found 'middle'"
    ),
    (
      "model: {attention_bias: yes}\n",
      "c.yaml:1: model.attention_bias: expected true or false, found 'yes'"
    ),
    (
      "optimizer: {clip_norm: -1}\n",
      "c.yaml:1: optimizer.clip_norm: expected a number of at least 0, found '-1'"
    ),
    ("seed: 1\nseed: 2\n", "c.yaml:1: the key 'seed' appears more than once"),
    ("seed: &a 1\n", "c.yaml:1: anchors and aliases are not allowed in a configuration"),
    ("data: &d {path: x}\nmodel: *d\n", "c.yaml:1: anchors and aliases are not allowed"),
    ("seed: !!int 1\n", "c.yaml:1: tags are not allowed in a configuration"),
    ("data: !x {path: y}\n", "c.yaml:1: tags are not allowed in a configuration"),
    ("seed: 1\n---\nseed: 2\n", "c.yaml:2: not valid YAML"),
    ("seed: 1\n  x: 2\n", "c.yaml:2: not valid YAML"),
    ("seed: 'x\n", "c.yaml:2: not valid YAML"),
    ("\"\\e[31mred\\n\": 1\n", "c.yaml:1: unknown key ' [31mred '"),
    ("", "c.yaml: data.path is missing"),
    ("# nothing\n", "c.yaml: data.path is missing"),
  ])
  func aMistakeIsNamedWithItsLine(yaml: String, expected: String) throws {
    let failure = try #require(configurationFailure(yaml))
    #expect(failure.exitCode == .configuration)
    #expect(failure.message.hasPrefix(expected), "\(failure.message)")
    #expect(!failure.message.contains("\n"))
  }

  @Test(arguments: [
    ("batch.lanes=6", "argument 'batch.lanes=6': batch.lanes is 6, but must be a power of two"),
    ("batch.tokens=7", "argument 'batch.tokens=7': batch.tokens is 7, but 8 lanes of 1"),
    (
      "model.heads=7", "argument 'model.heads=7': model.dimension 512 is not a multiple of 7 heads"
    ),
    (
      "parallel.replicas=9",
      "argument 'parallel.replicas=9': parallel.replicas is 9, but there are only 8 lanes"
    ),
    (
      "schedule.kind=linear",
      "argument 'schedule.kind=linear': schedule.kind linear needs schedule.peak"
    ),
    (
      "schedule.warmup_steps=0",
      "argument 'schedule.warmup_steps=0': schedule.warmup_steps: expected a whole number from 1"
    ),
    ("batch.lane=4", "argument 'batch.lane=4': unknown key 'batch.lane', did you mean"),
    ("model=4", "argument 'model=4': 'model' is a group of keys, not a value"),
  ])
  func aMistakenArgumentIsNamed(argument: String, expected: String) throws {
    let failure = try #require(configurationFailure("data: {path: d}", [argument]))
    #expect(failure.exitCode == .configuration)
    #expect(failure.message.hasPrefix(expected), "\(failure.message)")
  }

  @Test(arguments: ["batch.lanes", "=4", ""])
  func anArgumentThatIsNoAssignmentIsUsage(argument: String) {
    #expect(configurationFailure("data: {path: d}", [argument])?.exitCode == .usage)
  }

  @Test func anOddDimensionNeedsLearnedPositions() {
    let odd = ["model.dimension=5", "model.heads=5"]
    #expect(
      configurationFailure("data: {path: d}", odd)?.message
        == "argument 'model.dimension=5': model.dimension is 5,"
        + " but sinusoidal positions need an even one")
    #expect(configurationFailure("data: {path: d}", odd + ["model.positions=learned"]) == nil)
  }

  @Test func aScheduleNeedsStepsToFallIn() {
    let cosine = ["schedule.kind=cosine", "schedule.peak=1e-3", "train.steps=100"]
    #expect(configurationFailure("data: {path: d}", cosine)?.exitCode == .configuration)
    let shorter = cosine + ["schedule.warmup_steps=99"]
    #expect(configurationFailure("data: {path: d}", shorter) == nil)
    let above = shorter + ["schedule.final=1e-2"]
    #expect(configurationFailure("data: {path: d}", above)?.exitCode == .configuration)
  }

  /// Files that cost a careless reader its stack or its afternoon.
  private static let hostile: [String] = {
    let laughs =
      "a0: &a0 [x, x]\n"
      + (1...40).map { "a\($0): &a\($0) [*a\($0 - 1), *a\($0 - 1)]\n" }.joined()
      + "? *a40\n: 1\n"
    return [
      laughs,
      "data: " + String(repeating: "[", count: 500_000),
      "data: " + String(repeating: "[", count: 900),
      String(repeating: "- ", count: 500_000),
      String(repeating: "? ", count: 500_000),
      String(repeating: "? ", count: 490),
      String(repeating: "a: {\n", count: 100_000),
      (0..<900).map { String(repeating: " ", count: $0) + "a:\n" }.joined(),
      (0..<300).map { String(repeating: " ", count: $0) + "a:\n" }.joined(),
      String(repeating: "- ", count: 490) + "\n",
      (0..<200).map { _ in "{a: " }.joined() + "1" + String(repeating: "}", count: 200),
      String(repeating: "x", count: ConfigurationDocument.byteLimit + 1),
      "data: \"" + (0..<60).map { _ in String(repeating: "x", count: 900) + "\n  " }.joined(),
      (0..<60_000).map { "key\($0): 1\n" }.joined(),
      (0..<2000).map { "k\($0): 1\n" }.joined(),
      (0..<2000).map { _ in "seed: 1\n" }.joined(),
      "seed: \u{0}1",
      "seed: \u{7}",
      "seed: !!python/object:os.system 1\n",
      "%YAML 9.9\n---\nseed: 1\n",
      "*a : 1\n",
    ]
  }()

  /// The bound on work: what reaches the parser is so little that no shape of it takes long. The
  /// time itself is measured, not asserted: see Guide/Security.md.
  @Test(arguments: hostile) func aHostileFileIsRefused(text: String) {
    let found = configurationFailure(text)
    #expect(found?.exitCode == .configuration, "\(text.prefix(40))")
    #expect(found?.message.contains(/[\x00-\x1f\x7f]/) == false)
    let isLarge = text.utf8.count > ConfigurationDocument.byteLimit
    let isComplex = ConfigurationDocument.nodeBound(text) > ConfigurationDocument.nodeLimit
    if isLarge { #expect(found?.message.contains("at most") == true) }
    if isComplex { #expect(found?.message.contains("are read") == true) }
  }

  @Test func whatIsNotTextIsRefused() throws {
    let path = FileManager.default.temporaryDirectory.path + "/yaml-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: path) }
    for bytes: [UInt8] in [[0xff, 0xfe, 0x73, 0], [0x73, 0x3a, 0xc3, 0x28], [0xed, 0xa0, 0x80]] {
      try FileSystem.writeAtomically(bytes, to: path)
      #expect(throws: Failure.self) { _ = try RunConfiguration.load(path: path) }
    }
  }

  @Test func theLimitsLeaveRoomForEveryConfiguration() throws {
    let resolved = try RunConfiguration.decode(yaml: "data: {path: d}", name: "c.yaml").resolvedYAML
    #expect(resolved.utf8.count * 8 < ConfigurationDocument.byteLimit)
    #expect(ConfigurationDocument.nodeBound(resolved) * 4 < ConfigurationDocument.nodeLimit)
  }

  @Test func theNearestNameIsNear() {
    #expect(editDistance("kitten", "sitting") == 3)
    #expect(editDistance("", "abc") == 3)
    #expect(editDistance("same", "same") == 0)
    let keys = ConfigurationKey.all.map(\.path)
    #expect(nearestName(to: "model.head", in: keys) == "model.heads")
    #expect(nearestName(to: "chekpoint.every", in: keys) != nil)
    #expect(nearestName(to: "zzzzzzzz", in: keys) == nil)
  }
}
