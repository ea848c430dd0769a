import Foundation
import Testing

/// Runs whose large matrix products are of bfloat16.
@Suite(.serialized) struct ReducedProductRunTests {
  private static let canBeUsed: Bool = {
    let text = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
    return text.contains(" avx512_bf16")
  }()

  /// Large enough that most products are reduced.
  private static let settings = [
    "precision.compute=bf16", "model.dimension=128", "model.feed_forward=256",
    "model.encoder_layers=2", "model.decoder_layers=2", "batch.lanes=4", "batch.tokens=800",
  ]

  @Test(.enabled(if: canBeUsed, "SKIPPED: needs a CPU with avx512_bf16"))
  func neitherRanksNorStagesNorDeathsChangeABit() throws {
    let scratch = try Scratch()
    let alone = try TinyRun(Self.settings, name: "alone", in: scratch).finish()
    for launch in [Program.Launch.mpirun(2), .mpirun(3)] {
      let run = try TinyRun(Self.settings, name: "replicas\(launch.prefix.last ?? "")", in: scratch)
      #expect(try run.finish(launch).differences(from: alone) == [], "\(launch.testDescription)")
    }
    let stages = Self.settings + ["parallel.stages=2"]
    let cut = try TinyRun(stages, name: "stages", in: scratch).finish(.mpirun(2))
    #expect(cut.differences(from: alone) == [])

    let killed = try TinyRun(Self.settings, name: "killed", in: scratch)
    _ = try killed.train(.mpirun(2), faults: "forward:8:0:kill")
    #expect(try killed.lastStep < 20)
    #expect(try killed.finish().differences(from: alone) == [])

    // And they are of bfloat16: close to what fp32 gives, and not the same.
    let whole = try TinyRun(Self.settings + ["precision.compute=fp32"], name: "fp32", in: scratch)
    #expect(try whole.finish().differences(from: alone).count > 20)
    let losses = try ["alone", "fp32"].map { name in
      let path = "\(scratch.path)/\(name)"
      let line = try #require(try RunResult.stepLines(run: path)[20])
      let text = try #require(line.firstMatch(of: /"loss":([0-9.]+)/))
      return try #require(Double(text.1))
    }
    #expect(abs(losses[0] - losses[1]) < 0.01 * losses[1], "\(losses)")
  }
}
