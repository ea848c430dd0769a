import Parallelism

/// When each pass of a schedule runs, if passes take fixed times and messages none.
struct PipelineTimeline {
  struct Entry {
    let pass: PipelinePass
    let start: Int
    let end: Int
  }

  /// The passes of each stage.
  let entries: [[Entry]]
  private let placement: ChunkPlacement
  private let microBatches: Int

  /// - Parameter forwardTime: of a pass through one chunk.
  init(_ schedule: PipelineSchedule, forwardTime: Int = 1, backwardTime: Int = 2) {
    let order = schedule.order
    var entries = [[Entry]](repeating: [], count: schedule.placement.stages)
    var ends: [PipelinePass: Int] = [:]
    order.forEachPass { stage, _, pass in
      let inputEnd = order.remoteInput(of: pass).flatMap { ends[$0] } ?? 0
      let start = max(entries[stage].last?.end ?? 0, inputEnd)
      let end = start + (pass.direction == .forward ? forwardTime : backwardTime)
      entries[stage].append(Entry(pass: pass, start: start, end: end))
      ends[pass] = end
    }
    self.entries = entries
    placement = schedule.placement
    microBatches = schedule.microBatches
  }

  /// When the last pass ends.
  var makespan: Int { entries.compactMap { $0.last?.end }.max() ?? 0 }

  /// The schedule in characters, a line for each stage, time from left to right.
  ///
  /// `3>` is the forward pass of micro-batch 3, `<3--` its backward pass, twice as long for twice
  /// the time; dots are waiting. With several chunks a stage, letters name them: `3b>`.
  func drawing() -> String {
    let cell = label(PipelinePass(.forward, microBatch: microBatches - 1, chunk: 0)).count + 1
    let nameWidth = "\(placement.lastStage)".count
    return entries.enumerated().map { stage, entries in
      var line = ""
      for entry in entries {
        line += String(repeating: ".", count: entry.start * cell - line.count)
        let text = label(entry.pass)
        let padding = String(
          repeating: "-", count: (entry.end - entry.start) * cell - text.count - 1)
        line += entry.pass.direction == .forward ? padding + text + ">" : "<" + text + padding
      }
      line += String(repeating: ".", count: makespan * cell - line.count)
      let name = "\(stage)"
      let indent = String(repeating: " ", count: nameWidth - name.count)
      return "stage \(indent)\(name)  \(line)\n"
    }.joined()
  }

  private func label(_ pass: PipelinePass) -> String {
    guard placement.chunksPerStage > 1 else { return "\(pass.microBatch)" }
    let letters = Array("abcdefghijklmnopqrstuvwxyz")
    return "\(pass.microBatch)\(letters[pass.chunk / placement.stages % letters.count])"
  }
}
