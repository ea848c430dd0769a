/// A rank's sign of life.
package struct Heartbeat: Equatable, Sendable {
  /// Between two of a rank.
  package static let intervalSeconds = 0.5

  package var incarnation: Int
  package var rank: Int
  package var sequence: Int
  /// How old it was when it was said, in seconds.
  package var ageSeconds: Double
  package var reading: StepBeacon.Reading

  package init(
    incarnation: Int, rank: Int, sequence: Int, ageSeconds: Double = 0,
    reading: StepBeacon.Reading
  ) {
    self.incarnation = incarnation
    self.rank = rank
    self.sequence = sequence
    self.ageSeconds = ageSeconds
    self.reading = reading
  }
}

/// Signs of life of ranks that do the same, as one of them says them: a line among what it says on
/// stderr, which mpirun carries to the supervisor without a listener or a connection of ours.
///
/// `RS lockstep JOB INCARNATION RANKS SEQUENCE AGE ACTIVITY STEP SAVED RESUMED WORK SAVE CODE
/// US newline`, where RS and US are the ASCII separators 0x1e and 0x1f that no text contains, RANKS
/// is `0-15` or `0-3,8`, and AGE the milliseconds since the oldest of these signs of life.
package struct HeartbeatFrame: Equatable, Sendable {
  package static let start: UInt8 = 0x1e
  package static let end: UInt8 = 0x1f
  /// A frame is never longer: what is longer is no frame. Less than a pipe takes at once.
  package static let byteLimit = 512
  /// Of one frame, so that a torn one cannot name millions.
  package static let rankLimit = 1024
  /// So many fit a frame whatever their numbers.
  static let runLimit = 16

  package var incarnation: Int
  /// Ascending runs.
  package var ranks: [ClosedRange<Int>]
  package var sequence: Int
  package var ageMilliseconds: Int
  /// The largest numbers among these ranks.
  package var reading: StepBeacon.Reading

  package init(
    incarnation: Int, ranks: [ClosedRange<Int>], sequence: Int, ageMilliseconds: Int = 0,
    reading: StepBeacon.Reading
  ) {
    self.incarnation = incarnation
    self.ranks = ranks
    self.sequence = sequence
    self.ageMilliseconds = ageMilliseconds
    self.reading = reading
  }

  /// A sign of life for each of its ranks.
  package var heartbeats: [Heartbeat] {
    ranks.joined().map { rank in
      Heartbeat(
        incarnation: incarnation, rank: rank, sequence: sequence,
        ageSeconds: Double(ageMilliseconds) / 1000, reading: reading)
    }
  }

  /// The frame with its line end.
  package func line(job: String) -> [UInt8] {
    let runs = ranks.map { run in
      run.count == 1 ? "\(run.lowerBound)" : "\(run.lowerBound)-\(run.upperBound)"
    }
    let numbers = [sequence, ageMilliseconds] + reading.words
    let text =
      "lockstep \(job) \(incarnation) \(runs.joined(separator: ",")) "
      + numbers.map(String.init).joined(separator: " ")
    return [Self.start] + Array(text.utf8) + [Self.end, UInt8(ascii: "\n")]
  }

  /// Reads what stands between the separators; nil for anything but a frame of this job.
  package init?(bytes: some Collection<UInt8>, job: String) {
    guard bytes.count <= Self.byteLimit else { return nil }
    let words = String(decoding: bytes, as: UTF8.self)
      .split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 6 + StepBeacon.Reading.wordCount, words[0] == "lockstep", words[1] == job,
      let incarnation = Int(words[2]), incarnation > 0, let ranks = Self.ranks(words[3])
    else { return nil }
    let numbers = words[4...].compactMap { Int($0) }
    guard numbers.count == words.count - 4, numbers.allSatisfy({ -1...(1 << 48) ~= $0 }),
      numbers[0] >= 0, numbers[1] >= 0, let reading = StepBeacon.Reading(words: numbers[2...])
    else { return nil }
    self.init(
      incarnation: incarnation, ranks: ranks, sequence: numbers[0], ageMilliseconds: numbers[1],
      reading: reading)
  }

  private static func ranks(_ text: Substring) -> [ClosedRange<Int>]? {
    var runs: [ClosedRange<Int>] = []
    var count = 0
    for run in text.split(separator: ",", omittingEmptySubsequences: false) {
      let ends = run.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
      guard 1...2 ~= ends.count, let first = ends[0], let last = ends[ends.count - 1],
        0...last ~= first, last - first < rankLimit, first > runs.last?.upperBound ?? -1
      else { return nil }
      runs.append(first...last)
      count += last - first + 1
    }
    return count <= rankLimit ? runs : nil
  }
}

extension StepBeacon.Reading {
  /// As heartbeats and the host's board have it.
  static let wordCount = 7

  var words: [Int] {
    [activity.rawValue, step, savedStep, resumedStep, work, saveMilliseconds, exitCode]
  }

  /// Nil where an activity is none, or a step below zero.
  init?(words: some Collection<Int>) {
    let words = Array(words)
    guard words.count == Self.wordCount, let activity = RankActivity(rawValue: words[0]),
      words[1] >= 0
    else { return nil }
    self.init(
      step: words[1], savedStep: words[2], resumedStep: words[3], activity: activity,
      work: words[4], saveMilliseconds: words[5], exitCode: words[6])
  }

  /// The largest of both numbers, of two ranks that do the same, with the same exit code.
  mutating func join(_ other: StepBeacon.Reading) {
    step = max(step, other.step)
    savedStep = max(savedStep, other.savedStep)
    resumedStep = max(resumedStep, other.resumedStep)
    work = max(work, other.work)
    saveMilliseconds = max(saveMilliseconds, other.saveMilliseconds)
  }
}
