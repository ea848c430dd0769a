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
      "c.yaml:1: model.dropout: expected a number from 0 to 0.999999, found 'nan'"
    ),
    (
      "model: {dropout: 1}\n",
      "c.yaml:1: model.dropout: expected a number from 0 to 0.999999, found '1'"
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
      "c.yaml:1: optimizer.clip_norm: expected a number from 0 to 1e37, found '-1'"
    ),
    ("seed: 1\nseed: 2\n", "c.yaml:1: the key 'seed' appears more than once"),
    (
      "batch.lanes: 2\nbatch:\n  lanes: 4\n",
      "c.yaml:3: the key 'batch.lanes' appears more than once"
    ),
    (
      "shedule: {kind: noam}\n",
      "c.yaml:1: unknown key 'shedule.kind', did you mean 'schedule.kind'?"
    ),
    (
      "data: {path: \"a\\u0085b\"}\n",
      "c.yaml:1: data.path: expected some text of one line"
    ),
    (
      "data: {path: \(String(repeating: "p", count: 801))}\n",
      "c.yaml:1: data.path: expected some text of one line"
    ),
    (
      "optimizer: {epsilon: 1e-50}\n",
      "c.yaml:1: optimizer.epsilon: expected a number from 1e-37 to 1e37, found '1e-50'"
    ),
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
      "optimizer.weight_decay=0.5",
      "argument 'optimizer.weight_decay=0.5': optimizer.weight_decay is 0.5, but only"
    ),
    (
      "model.dropout=0.9999999999",
      "argument 'model.dropout=0.9999999999': model.dropout: expected a number from 0 to 0.999999"
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

  struct HostileText: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let text: String

    init(_ name: String, _ text: String) { (testDescription, self.text) = (name, text) }
  }

  private static func repeated(_ text: String, _ count: Int) -> String {
    String(repeating: text, count: count)
  }

  /// Files that cost a careless reader its stack or its afternoon.
  private static let hostile: [HostileText] = {
    let laughs =
      "a0: &a0 [x, x]\n"
      + (1...40).map { "a\($0): &a\($0) [*a\($0 - 1), *a\($0 - 1)]\n" }.joined()
      + "? *a40\n: 1\n"
    let keys = (0..<60_000).map { "key\($0): 1\n" }
    return [
      HostileText("billion laughs", laughs),
      HostileText("half a million brackets", "data: " + repeated("[", 500_000)),
      HostileText("900 brackets", "data: " + repeated("[", 900)),
      HostileText("half a million lists", repeated("- ", 500_000)),
      HostileText("490 lists", repeated("- ", 490) + "\n"),
      HostileText("half a million keys of keys", repeated("? ", 500_000)),
      HostileText("490 keys of keys", repeated("? ", 490)),
      HostileText("100,000 open groups", repeated("a: {\n", 100_000)),
      HostileText("200 groups", repeated("{a: ", 200) + "1" + repeated("}", 200)),
      HostileText("900 levels", (0..<900).map { repeated(" ", $0) + "a:\n" }.joined()),
      HostileText("300 levels", (0..<300).map { repeated(" ", $0) + "a:\n" }.joined()),
      HostileText("a long line", repeated("x", ConfigurationDocument.byteLimit + 1)),
      HostileText("a long text", "data: \"" + repeated(repeated("x", 900) + "\n  ", 60)),
      HostileText("60,000 keys", keys.joined()),
      HostileText("2,000 keys", keys.prefix(2000).joined()),
      HostileText("a key 2,000 times", repeated("seed: 1\n", 2000)),
      HostileText("NUL", "seed: \u{0}1"),
      HostileText("bell", "seed: \u{7}"),
      HostileText("an object of Python", "seed: !!python/object:os.system 1\n"),
      HostileText("another version", "%YAML 9.9\n---\nseed: 1\n"),
      HostileText("an alias of nothing", "*a : 1\n"),
    ]
  }()

  /// Work is bounded by what reaches the parser; no time is asserted.
  @Test(arguments: hostile) func aHostileFileIsRefused(file: HostileText) {
    let found = configurationFailure(file.text)
    #expect(found?.exitCode == .configuration)
    #expect(found?.message.contains(/[\x00-\x1f\x7f]/) == false)
    let isLarge = file.text.utf8.count > ConfigurationDocument.byteLimit
    let isComplex = ConfigurationDocument.nodeBound(file.text) > ConfigurationDocument.nodeLimit
    if isLarge || isComplex { #expect(found?.message.contains("are read") == true) }
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
