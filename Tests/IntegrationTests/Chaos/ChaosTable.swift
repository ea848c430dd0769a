import Foundation

/// Who died where how often, and how long it took to notice and to go on.
struct ChaosTable {
  private struct Row {
    var trials: [String: Int] = [:]
    var happened = 0
    var detection: [Double] = []
    var recovery: [Double] = []

    var count: Int { trials.values.reduce(0, +) }

    mutating func add(_ other: Row) {
      trials.merge(other.trials, uniquingKeysWith: +)
      happened += other.happened
      detection += other.detection
      recovery += other.recovery
    }
  }

  private var rows: [String: Row] = [:]

  mutating func add(_ trial: ChaosTrial, happened: Bool, _ run: TinyRun) {
    var row = Row(trials: [trial.point: 1], happened: happened ? 1 : 0)
    row.detection = run.supervisorLines("death").compactMap {
      try? TinyRun.number("detect_seconds", in: $0)
    }
    row.recovery = run.supervisorLines("recovered").compactMap {
      try? TinyRun.number("seconds", in: $0)
    }
    rows[trial.kind, default: Row()].add(row)
  }

  var happened: Int { rows.values.map(\.happened).reduce(0, +) }

  /// Seconds are those within which a half, nine tenths and all were noticed or made good.
  var lines: [String] {
    let points = Set(rows.values.flatMap(\.trials.keys)).sorted()
    let header = ["victim", "trials", "faults", "detected", "recovered"] + points
    var all = Row()
    var body: [[String]] = []
    for (kind, row) in rows.sorted(by: { $0.key < $1.key }) {
      all.add(row)
      body.append(cells(kind, row, points))
    }
    let table = [header] + body + [cells("all", all, points)]
    let widths = header.indices.map { column in table.map { $0[column].count }.max() ?? 0 }
    return table.map { row in
      zip(row, widths).map { $0.padding(toLength: $1, withPad: " ", startingAt: 0) }
        .joined(separator: "  ")
    }
  }

  private func cells(_ name: String, _ row: Row, _ points: [String]) -> [String] {
    [name, "\(row.count)", "\(row.happened)", quantiles(row.detection), quantiles(row.recovery)]
      + points.map { "\(row.trials[$0] ?? 0)" }
  }

  private func quantiles(_ seconds: [Double]) -> String {
    guard !seconds.isEmpty else { return "-" }
    let sorted = seconds.sorted()
    return [0.5, 0.9, 1].map { share in
      String(format: "%.1f", sorted[min(sorted.count - 1, Int(share * Double(sorted.count)))])
    }.joined(separator: " ") + " s"
  }
}
