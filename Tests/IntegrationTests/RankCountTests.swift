import Foundation
import Testing

/// The number of ranks is no input of a step.
@Suite(.serialized) struct RankCountTests {
  private static let launches: [Program.Launch] = [1, 2, 3, 4, 8].map { .mpirun($0) }

  private func expectSameBytes(_ overrides: [String], _ launches: [Program.Launch]) throws {
    let scratch = try Scratch()
    let alone = try TinyRun(overrides, name: "alone", in: scratch).finish()
    #expect(alone.stepCount == 20)
    for launch in launches {
      let name = launch.testDescription.replacing(" ", with: "")
      let result = try TinyRun(overrides, name: name, in: scratch).finish(launch)
      #expect(result.differences(from: alone) == [], "\(launch.testDescription)")
    }
    #expect(scratch.processes == [])
  }

  @Test func noNumberOfRanksChangesABit() throws {
    try expectSameBytes([], Self.launches)
  }

  @Test func norWithMicroBatchesAndClipping() throws {
    try expectSameBytes(["batch.micro_batches=2", "optimizer.clip_norm=0.5"], Self.launches)
  }

  @Test func norWithTheOtherArchitecture() throws {
    try expectSameBytes(
      [
        "model.norm=pre", "model.positions=learned", "model.maximum_positions=32",
        "model.attention_bias=true", "optimizer.kind=adamw", "optimizer.weight_decay=0.01",
        "batch.lanes=4",
      ], [.mpirun(2), .mpirun(3)])
  }

  /// The comparison itself must be able to fail.
  @Test func anotherSeedChangesEverything() throws {
    let scratch = try Scratch()
    let one = try TinyRun(steps: 3, name: "one", in: scratch).finish()
    let other = try TinyRun(["seed=2"], steps: 3, name: "other", in: scratch).finish()
    let differences = other.differences(from: one)
    #expect(differences.contains { $0.hasPrefix("parameters ") })
    #expect(differences.contains { $0.hasPrefix("secondMoment ") })
    #expect(differences.contains { $0.hasPrefix("step 3") })
  }
}
