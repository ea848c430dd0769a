import Core
import Foundation
import Training

/// The lines a run shows while it trains: plain text, a whole line each, so that they read the same
/// on a terminal, through mpirun and in a file.
package enum ProgressLine {
  /// `step    50/600  epoch  1.20  loss  6.2140  ppl   499.70  lr 3.50e-04  |grad|  1.320    4,402
  /// tok/s  9f3ac1d2     4m16s left`, in columns that keep their place.
  package static func text(_ record: StepRecord) -> String {
    let total = String(record.totalSteps)
    var columns = [
      "step \(padded(String(record.step), total.count))/\(total)",
      "epoch \(padded(fixed(record.epoch, 2), 6))",
      "loss \(padded(fixed(record.loss, 4), 7))",
      "ppl \(padded(perplexity(record.perplexity), 9))",
      "lr \(padded(scientific(record.learningRate), 8))",
      "|grad| \(padded(fixed(record.gradientNorm, 3), 7))",
      "\(padded(grouped(record.tokensPerSecond), 7)) tok/s",
    ]
    if let digest = record.weightsDigest { columns.append(String(digest.prefix(8))) }
    if let left = record.secondsLeft {
      columns.append("\(padded(duration(left), 6)) left")
    }
    return columns.joined(separator: "  ")
  }

  /// `valid step 100  loss 5.1020  ppl 164.35  2,048 tokens in 0.8s`.
  package static func text(_ record: ValidationRecord) -> String {
    return "valid after step \(record.step)  loss \(fixed(record.loss, 4))"
      + "  ppl \(perplexity(record.perplexity))"
      + "  (\(grouped(Double(record.tokens))) tokens in \(duration(record.seconds)))"
  }

  /// `saved checkpoints/step-000000100 (17.3 MB in 0.1s)`, or why it could not be.
  package static func text(_ record: SaveRecord) -> String {
    if let problem = record.problem {
      return "NOT saved after step \(record.step), training goes on: \(problem)"
    }
    return "saved \(record.path) (\(bytes(record.byteCount)) in \(duration(record.seconds)))"
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
