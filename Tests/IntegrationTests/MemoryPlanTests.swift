import Core
import Foundation
import Testing

/// What a run says it will take before its first step, and what it takes.
@Suite(.serialized) struct MemoryPlanTests {
  /// A rank that has been through its first steps.
  private struct Rank {
    /// Bytes by purpose.
    let plan: [String: Int]
    let resident: ResidentMemory
    var planned: Int { plan.values.reduce(0, +) }
  }

  private static let common = [
    "model.encoder_layers=2", "model.decoder_layers=2",
    // The snapshot of a save is a part of the plan.
    "evaluation.every=1000000", "checkpoint.every=1",
  ]
  /// Fifteen million parameters.
  private static let large =
    common + [
      "model.dimension=512", "model.feed_forward=2048", "model.heads=8",
    ]
  /// What is resident beside its plan is code, libraries and data: those are not planned.
  private static let small = common

  private func ranks(_ settings: [String], _ layout: Layout) throws -> [Rank] {
    let scratch = try Scratch()
    let run = try TinyRun(settings + layout.overrides, steps: 10_000, in: scratch)
    let job = try run.start(layout.launch)
    try run.waitForStep(2, of: job)
    let resident = try scratch.ranks.map { try ResidentMemory(of: $0) }
      .sorted { $0.rank < $1.rank }
    scratch.kill()
    _ = try job.outcome()
    try #require(resident.count == layout.ranks)
    let text = try String(contentsOfFile: run.path + "/events.jsonl", encoding: .utf8)
    let line = try #require(text.split(separator: "\n").first)
    let event = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    let plans = try #require(event?["memory_plan"] as? [[String: Int]])
    return zip(plans, resident).map { Rank(plan: $0, resident: $1) }
  }

  private static func megabytes(_ bytes: Int) -> String {
    String(format: "%.1f", Double(bytes) / 1e6)
  }

  private static func say(_ line: String) {
    FileHandle.standardError.write(Data("  memory: \(line)\n".utf8))
  }

  @Test func thePlanIsWhatIsResident() throws {
    // Few lanes with many tokens: activations weigh as much as the weights.
    let batch = ["batch.lanes=2", "batch.tokens=768"]
    var totals: [Int] = []
    for layout in [
      Layout(), Layout(replicas: 2), Layout(stages: 2), Layout(stages: 4),
      Layout(replicas: 2, exchange: "messages"),
    ] {
      let base = try ranks(Self.small + batch, layout).map { $0.resident.peakShare - $0.planned }
      let ranks = try ranks(Self.large + batch, layout)
      for (rank, base) in zip(ranks, base) {
        let found = rank.resident.peakShare - base
        let parts = rank.plan.sorted { $0.key < $1.key }
          .map { "\($0.key) \(Self.megabytes($0.value))" }
        let percent = (Double(found) / Double(rank.planned) - 1) * 100
        Self.say(
          "\(layout.testDescription) rank \(rank.resident.rank): planned"
            + " \(Self.megabytes(rank.planned)) MB, found \(Self.megabytes(found))"
            + " (\(String(format: "%+.1f", percent)) %), beside it \(Self.megabytes(base)),"
            + " peak \(Self.megabytes(rank.resident.peakResident)); "
            + parts.joined(separator: ", "))
        #expect(abs(percent) <= 10, "\(layout.testDescription) rank \(rank.resident.rank)")
      }
      if layout.replicas == 1 {
        totals.append(ranks.map(\.resident.peakResident).max() ?? 0)
      }
    }
    // One, two, four stages.
    #expect(totals == totals.sorted(by: >) && totals[2] * 3 < totals[0] * 2, "\(totals)")
  }

  /// However many ranks of a node: one copy of the weights, one of the moments.
  @Test func weightsAndMomentsLieOnceOnANode() throws {
    let batch = ["batch.lanes=4", "batch.tokens=256"]
    let one = try #require(ranks(Self.large + batch, Layout()).first)
    let weights = try #require(one.plan["weights"])
    let moments = try #require(one.plan["moments"])
    for layout in [Layout(replicas: 2), Layout(replicas: 4), Layout(replicas: 2, stages: 2)] {
      let base = try ranks(Self.small + batch, layout).map {
        $0.resident.privateBytes - ($0.plan["moments"] ?? 0) - ($0.plan["activations"] ?? 0)
          - ($0.plan["snapshot"] ?? 0)
      }
      let ranks = try ranks(Self.large + batch, layout)
      // The windows are told apart by their extents; parts begin on pages of their own.
      let windows = ranks.flatMap(\.resident.shared)
        .filter { weights..<weights + 1 << 16 ~= $0.size }
      try #require(windows.count == ranks.count, "\(ranks.map(\.resident.shared))")
      let residentWeights = windows.reduce(0) { $0 + $1.share }
      let residentMoments = zip(ranks, base).reduce(0) { sum, pair in
        sum + pair.0.resident.privateBytes - pair.1 - (pair.0.plan["activations"] ?? 0)
          - (pair.0.plan["buffers"] ?? 0) - (pair.0.plan["snapshot"] ?? 0)
      }
      Self.say(
        "\(layout.testDescription) node: weights \(Self.megabytes(residentWeights)) of"
          + " \(Self.megabytes(weights)) MB, moments \(Self.megabytes(residentMoments)) of"
          + " \(Self.megabytes(moments)), all ranks"
          + " \(Self.megabytes(ranks.reduce(0) { $0 + $1.resident.share }))")
      #expect(abs(residentWeights - weights) <= weights / 50)
      #expect(residentMoments <= moments + moments / 10)
      #expect(ranks.reduce(0) { $0 + ($1.plan["weights"] ?? 0) } <= weights)
      #expect(ranks.reduce(0) { $0 + ($1.plan["moments"] ?? 0) } == moments)
    }
    Self.say("1x1 node: all ranks \(Self.megabytes(one.resident.share)) MB")
  }
}
