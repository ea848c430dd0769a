import Core

/// Says how far the reading of all shards is, once it takes longer than a second.
package struct ReadingProgress {
  private static let firstSeconds = 1.0
  private static let secondsBetweenLines = 10.0

  private let task: String
  private let say: (String) -> Void
  private let watch = Stopwatch()
  private var nextSeconds = firstSeconds

  /// - Parameters:
  ///   - task: what is done, as the beginning of a line.
  ///   - say: hears the lines.
  package init(_ task: String, say: @escaping (String) -> Void) {
    self.task = task
    self.say = say
  }

  package mutating func reached(_ done: Int, of total: Int) {
    let seconds = watch.seconds
    guard seconds > nextSeconds, done > 0, done < total else { return }
    nextSeconds = seconds + Self.secondsBetweenLines
    let left = seconds / Double(done) * Double(total - done)
    say("\(task): \(done) of \(total) shards, about \(Int(left.rounded(.up))) s left")
  }
}
