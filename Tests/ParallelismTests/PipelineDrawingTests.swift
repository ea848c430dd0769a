import Core
import Foundation
import Parallelism
import Testing

@Suite struct PipelineDrawingTests {
  private func drawing(
    _ kind: PipelineSchedule.Kind, stages: Int, chunks: Int = 1, microBatches: Int
  ) throws -> String {
    let schedule = try PipelineSchedule(
      kind: kind, placement: ChunkPlacement(stages: stages, chunksPerStage: chunks),
      microBatches: microBatches, microBatchesPerLane: 1, targetEmbeddingChunk: 0)
    return PipelineTimeline(schedule).drawing()
  }

  @Test func aSmallScheduleIsDrawn() throws {
    #expect(
      try drawing(.oneForwardOneBackward, stages: 2, microBatches: 2) == """
        stage 0  0>1>....<0--..<1--
        stage 1  ..0><0--1><1--....

        """)
    #expect(
      try drawing(.gpipe, stages: 2, microBatches: 2) == """
        stage 0  0>1>......<0--<1--
        stage 1  ..0>1><0--<1--....

        """)
  }

  @Test func chunksAreLettersAndNumbersAreAligned() throws {
    #expect(
      try drawing(.interleaved, stages: 2, chunks: 2, microBatches: 2) == """
        stage 0  0a>1a>0b>1b>......<0b---...<1b---<0a---<1a---
        stage 1  ...0a>1a>0b><0b---1b><1b---<0a---<1a---......

        """)
    let lines = try drawing(.oneForwardOneBackward, stages: 11, microBatches: 12)
      .split(separator: "\n")
    #expect(lines.count == 11)
    #expect(lines[0].hasPrefix("stage  0  -0>-1>-2>"))
    #expect(lines[10].hasPrefix("stage 10  ..."))
    #expect(Set(lines.map(\.count)).count == 1)
  }

  @Test func theGuideShowsWhatTheCodeDraws() throws {
    let guide = URL(fileURLWithPath: #filePath)
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .appending(path: "Sources/Guide/Architecture.md")
    let text = try String(contentsOf: guide, encoding: .utf8)
    let drawing = try drawing(.oneForwardOneBackward, stages: 4, microBatches: 8)
    #expect(text.contains("```\n\(drawing)```\n"), "the drawing is now:\n\(drawing)")
  }
}
