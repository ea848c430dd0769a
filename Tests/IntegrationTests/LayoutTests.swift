import Core
import Foundation
import Testing

/// How a model is spread over ranks.
struct Layout: Sendable, CustomTestStringConvertible {
  var replicas = 1
  var stages = 1
  var schedule = "1f1b"
  var chunks = 1
  var exchange = "shared"
  /// The ranks of each host; nil for one host.
  var hosts: String?

  var ranks: Int { replicas * stages }

  var launch: Program.Launch { hosts.map { .cluster($0) } ?? .mpirun(ranks) }

  var overrides: [String] {
    [
      "parallel.replicas=\(replicas)", "parallel.stages=\(stages)", "parallel.schedule=\(schedule)",
      "parallel.chunks=\(chunks)", "parallel.exchange=\(exchange)",
    ]
  }

  var testDescription: String {
    let parts = [
      "\(replicas)x\(stages)", schedule, chunks > 1 ? "\(chunks) chunks" : "", exchange,
      hosts.map { "hosts \($0)" } ?? "",
    ]
    return parts.filter { !$0.isEmpty }.joined(separator: " ")
  }

  var name: String { testDescription.replacing(" ", with: "-") }
}

extension TinyRun {
  /// Six layers to be cut, and a gradient norm that needs every stage.
  static let cuttable = [
    "model.encoder_layers=3", "model.decoder_layers=3", "optimizer.clip_norm=0.5",
  ]
  /// Whatever the other model of these tests does not have.
  static let otherCuttable =
    cuttable + [
      "batch.micro_batches=2", "model.norm=pre", "model.positions=learned",
      "model.maximum_positions=32", "model.attention_bias=true", "optimizer.kind=adamw",
      "optimizer.weight_decay=0.01",
    ]
}

/// The cut into replicas and stages is no input of a step.
@Suite(.serialized) struct LayoutTests {
  private func expectSameBytes(_ overrides: [String], _ layouts: [Layout]) throws {
    let scratch = try Scratch()
    let alone = try TinyRun(overrides, name: "alone", in: scratch).finish()
    #expect(alone.stepCount == 20)
    for layout in layouts {
      let run = try TinyRun(overrides + layout.overrides, name: layout.name, in: scratch)
      #expect(try run.finish(layout.launch).differences(from: alone) == [], "\(layout.name)")
    }
    #expect(scratch.processes == [])
  }

  @Test func noLayoutChangesABit() throws {
    try expectSameBytes(
      TinyRun.cuttable,
      [
        Layout(stages: 2),
        Layout(stages: 4, schedule: "gpipe"),
        Layout(stages: 3, schedule: "interleaved", chunks: 2),
        Layout(replicas: 2, stages: 2, exchange: "messages"),
        Layout(replicas: 2, stages: 3),
        Layout(replicas: 3, stages: 2, schedule: "interleaved", chunks: 2, exchange: "messages"),
        Layout(replicas: 4, exchange: "messages"),
        Layout(replicas: 8),
      ])
  }

  @Test func norWithMicroBatchesAndTheOtherArchitecture() throws {
    try expectSameBytes(
      TinyRun.otherCuttable,
      [
        Layout(),
        Layout(stages: 4, exchange: "messages"),
        Layout(replicas: 2, schedule: "gpipe"),
        Layout(replicas: 2, stages: 2, schedule: "interleaved", chunks: 3),
        Layout(replicas: 2, stages: 3, schedule: "gpipe", exchange: "messages"),
        Layout(replicas: 2, stages: 4),
        Layout(replicas: 3, stages: 2),
      ])
  }

  /// What a user cuts by hand is cut there, and changes nothing either.
  @Test func norDoesACutByHand() throws {
    let cut = Layout(stages: 2)
    let scratch = try Scratch()
    let byCost = try TinyRun(TinyRun.cuttable + cut.overrides, steps: 5, name: "cost", in: scratch)
      .finish(cut.launch)
    let byHand = try TinyRun(
      TinyRun.cuttable + cut.overrides + ["parallel.stage_blocks=5,1"], steps: 5, name: "hand",
      in: scratch)
    let outcome = try byHand.train(cut.launch)
    try #require(outcome.exitCode == 0, "\(outcome.error)")
    #expect(outcome.output.contains("encoder 0-2, decoder 0-1"), "\(outcome.output)")
    #expect(try byHand.result().differences(from: byCost) == [])
  }

  /// Every launch has another layout; each goes on from the other's checkpoint.
  @Test func aCheckpointFitsEveryLayout() throws {
    let scratch = try Scratch()
    let alone = try TinyRun(TinyRun.otherCuttable, steps: 30, name: "alone", in: scratch).finish()
    let layouts: [Layout?] = [
      Layout(stages: 4), Layout(replicas: 3, stages: 2, schedule: "interleaved", chunks: 2),
      Layout(replicas: 2), nil, Layout(replicas: 4, exchange: "messages"),
      Layout(replicas: 2, stages: 3, schedule: "gpipe", exchange: "messages"),
    ]
    for (index, layout) in layouts.enumerated() {
      let run = try TinyRun(
        TinyRun.otherCuttable + (layout?.overrides ?? []), steps: 5 * (index + 1), in: scratch)
      let result = try run.finish(layout?.launch ?? .alone)
      #expect(result.stepCount == 5 * (index + 1))
      if index == layouts.count - 1 { #expect(result.differences(from: alone) == []) }
    }
  }

  /// Ranks compare every call they make together, and find nothing to complain about.
  @Test func ranksThatCheckEachOtherAgree() throws {
    let scratch = try Scratch()
    let run = try TinyRun(TinyRun.cuttable, steps: 10, name: "alone", in: scratch)
    let alone = try run.finish()
    for layout in [
      Layout(replicas: 2, stages: 2), Layout(stages: 3, schedule: "gpipe", exchange: "messages"),
    ] {
      let run = try TinyRun(
        TinyRun.cuttable + layout.overrides, steps: 10, name: layout.name, in: scratch)
      let result = try run.finish(layout.launch, environment: ["LOCKSTEP_CHECK": "1"])
      #expect(result.differences(from: alone) == [], "\(layout.name)")
    }
  }
}
