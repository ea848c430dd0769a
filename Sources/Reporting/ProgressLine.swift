import Core
import Foundation
import Training

/// The lines a run shows while it trains: a whole line each, so that they read the same on a
/// terminal, through mpirun and in a file.
package enum ProgressLine {
  /// `step    50/600  epoch  1.20  loss  6.2140  ppl   499.70  lr 3.50e-04  |grad|  1.320    4,402
  /// tok/s  9f3ac1d2     4m16s left`, in columns that keep their place; what a narrow terminal has
  /// no room for is left out, the least wanted first.
  package static func text(_ record: StepRecord, on terminal: Terminal = .plain) -> String {
    let total = String(record.totalSteps)
    var columns = [
      Column(
        "step \(padded(String(record.step), total.count))/\(total)", rank: 0, style: .bold),
      Column("epoch \(padded(fixed(record.epoch, 2), 6))", rank: 6),
      Column("loss \(padded(fixed(record.loss, 4), 7))", rank: 1),
      Column("ppl \(padded(perplexity(record.perplexity), 9))", rank: 4),
      Column("lr \(padded(scientific(record.learningRate), 8))", rank: 5),
      Column("|grad| \(padded(fixed(record.gradientNorm, 3), 7))", rank: 7),
      Column("\(padded(grouped(record.tokensPerSecond), 7)) tok/s", rank: 3),
    ]
    if let digest = record.weightsDigest {
      columns.append(Column(String(digest.prefix(8)), rank: 8, style: .dim))
    }
    if let left = record.secondsLeft {
      columns.append(Column("\(padded(duration(left), 6)) left", rank: 2))
    }
    while let width = terminal.columns, columns.count > 1,
      columns.map(\.text.count).reduce(2 * (columns.count - 1), +) > width
    {
      let last = columns.indices.max { columns[$0].rank < columns[$1].rank } ?? 0
      columns.remove(at: last)
    }
    return columns.map { column in
      column.style.map { terminal.styled(column.text, $0) } ?? column.text
    }.joined(separator: "  ")
  }

  private struct Column {
    var text: String
    /// 0 is shown in any case; the highest is the first to go.
    var rank: Int
    var style: Terminal.Style?

    init(_ text: String, rank: Int, style: Terminal.Style? = nil) {
      self.text = text
      self.rank = rank
      self.style = style
    }
  }

  /// `valid after step 100  loss 5.1020  ppl 164.35  (2,048 tokens in 0.8s)`.
  package static func text(
    _ record: ValidationRecord, on terminal: Terminal = .plain
  ) -> String {
    terminal.styled("valid", .cyan) + " after step \(record.step)  loss \(fixed(record.loss, 4))"
      + "  ppl \(perplexity(record.perplexity))"
      + "  (\(grouped(Double(record.tokens))) tokens in \(duration(record.seconds)))"
  }

  /// `saved checkpoints/step-000000100 (17.3 MB in 0.1s)`, or why it could not be.
  package static func text(_ record: SaveRecord, on terminal: Terminal = .plain) -> String {
    if let problem = record.problem {
      return terminal.styled("NOT saved", .red)
        + " after step \(record.step), training goes on: \(escaped(problem))"
    }
    return "saved \(escaped(record.path)) (\(bytes(record.byteCount)) in"
      + " \(duration(record.seconds)))"
  }
}

// MARK: - Numbers as people read them

extension ProgressLine {
  /// `4m16s`, `0.8s`, `2h05m`, `3d04h`.
  package static func duration(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "?" }
    if seconds < 9.95 { return fixed(seconds, 1) + "s" }
    // Beyond a thousand years nobody reads the digits.
    let whole = Int(min(seconds.rounded(), 3e10))
    if whole < 60 { return "\(whole)s" }
    if whole < 3600 { return "\(whole / 60)m\(twoDigits(whole % 60))s" }
    if whole < 86_400 { return "\(whole / 3600)h\(twoDigits(whole % 3600 / 60))m" }
    return "\(whole / 86_400)d\(twoDigits(whole % 86_400 / 3600))h"
  }

  /// `17.3 MB`, in powers of ten.
  package static func bytes(_ count: Int) -> String {
    var value = Double(count)
    for unit in ["B", "kB", "MB", "GB", "TB"] {
      if value < 999.5 || unit == "TB" {
        let digits = unit == "B" || value >= 99.95 ? 0 : 1
        return "\(fixed(value, digits)) \(unit)"
      }
      value /= 1000
    }
    return "\(count) B"
  }

  /// `4,402`: a whole number in groups of three digits.
  package static func grouped(_ value: Double) -> String {
    guard value.isFinite, abs(value) < 1e18 else { return "\(value)" }
    let digits = String(Int(value.rounded().magnitude))
    var result = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { result += "," }
      result.append(digit)
    }
    return value.rounded() < 0 ? "-" + result : result
  }

  package static func grouped(_ value: Int) -> String { grouped(Double(value)) }

  static func fixed(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite else { return "\(value)" }
    return String(format: "%.\(digits)f", value)
  }

  static func scientific(_ value: Double) -> String { String(format: "%.2e", value) }

  static func padded(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  private static func perplexity(_ value: Double) -> String {
    value < 100_000 ? fixed(value, 2) : scientific(value)
  }

  private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
