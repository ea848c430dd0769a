import Core
import Foundation

/// What a stage says of itself: how far it is, how fast, and how long it will take.
struct StageProgress {
  /// What is being done, as in "scanning text".
  let title: String
  /// Of each task, in `unit`.
  let weights: [Int]
  let unit: Unit
  let say: (String) -> Void

  enum Unit {
    case bytes, pairs, shards
  }

  static let secondsBetweenLines = 10.0

  init(
    _ title: String, _ weights: [Int], _ unit: Unit = .bytes, say: @escaping (String) -> Void
  ) {
    self.title = title
    self.weights = weights
    self.unit = unit
    self.say = say
  }

  /// - Parameter own: the tasks of this process, for whose share it speaks.
  func tell(done: Int, of own: [Int], seconds: Double) {
    let total = own.reduce(0) { $0 + weights[$1] }
    guard total > 0 else { return }
    let share = Double(done) / Double(total)
    let rate = share * Double(weights.reduce(0, +)) / seconds
    let left = done > 0 ? ", \(Self.clock(seconds * (1 - share) / share)) left" : ""
    say(
      "\(title): \(Int(share * 100)) % of \(amount(weights.reduce(0, +))),"
        + " \(perSecond(rate))\(left)")
  }

  /// Nothing of a stage without tasks.
  func tellEnd(seconds: Double) {
    let total = weights.reduce(0, +)
    guard total > 0 else { return }
    let text = String(format: "%.1f", seconds)
    let rate = seconds >= 0.05 ? ", \(perSecond(Double(total) / seconds))" : ""
    say("\(title): \(amount(total)) in \(text) s\(rate)")
  }

  private func perSecond(_ rate: Double) -> String {
    switch unit {
    case .bytes: String(format: "%.1f MB/s", rate / 1e6)
    case .pairs: "\(Int(rate)) pairs/s"
    case .shards: String(format: "%.1f shards/s", rate)
    }
  }

  private func amount(_ count: Int) -> String {
    switch unit {
    case .bytes where count >= 1_000_000_000: String(format: "%.2f GB", Double(count) / 1e9)
    case .bytes: String(format: "%.1f MB", Double(count) / 1e6)
    case .pairs: "\(count) pairs"
    case .shards: "\(count) shards"
    }
  }

  private static func clock(_ seconds: Double) -> String {
    let whole = Int(min(seconds, 1e6).rounded(.up))
    return whole < 60 ? "\(whole) s" : "\(whole / 60) min \(whole % 60) s"
  }
}
