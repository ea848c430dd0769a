/// A rank's sign of life, as a line among the lines it says on stderr, which mpirun carries to the
/// supervisor without a listener or a connection of ours:
/// `RS lockstep JOB INCARNATION RANK SEQUENCE STEP SAVED RESUMED ACTIVITY WORK SAVE CODE US
/// newline`, where RS and US are the ASCII separators 0x1e and 0x1f that no text contains.
package struct Heartbeat: Equatable, Sendable {
  package static let start: UInt8 = 0x1e
  package static let end: UInt8 = 0x1f
  /// A frame is never longer: what is longer is no frame.
  package static let byteLimit = 256
  /// Between two of a rank.
  package static let intervalSeconds = 0.5

  package var incarnation: Int
  package var rank: Int
  package var sequence: Int
  package var reading: StepBeacon.Reading

  package init(incarnation: Int, rank: Int, sequence: Int, reading: StepBeacon.Reading) {
    self.incarnation = incarnation
    self.rank = rank
    self.sequence = sequence
    self.reading = reading
  }

  /// The frame with its line end.
  package func line(job: String) -> [UInt8] {
    let numbers = [
      incarnation, rank, sequence, reading.step, reading.savedStep, reading.resumedStep,
      reading.activity.rawValue, reading.work, reading.saveMilliseconds,
      reading.exitCode,
    ]
    let text = "lockstep \(job) " + numbers.map(String.init).joined(separator: " ")
    return [Self.start] + Array(text.utf8) + [Self.end, UInt8(ascii: "\n")]
  }

  /// Reads what stands between the separators; nil for anything but a frame of this job.
  package init?(frame: some Collection<UInt8>, job: String) {
    guard frame.count <= Self.byteLimit else { return nil }
    let words = String(decoding: frame, as: UTF8.self)
      .split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 12, words[0] == "lockstep", words[1] == job else { return nil }
    let numbers = words[2...].compactMap { Int($0) }
    guard numbers.count == 10, numbers.allSatisfy({ -1...(1 << 48) ~= $0 }),
      numbers[0] > 0, numbers[1] >= 0, numbers[2] >= 0, numbers[3] >= 0,
      let activity = RankActivity(rawValue: numbers[6])
    else { return nil }
    var reading = StepBeacon.Reading()
    reading.step = numbers[3]
    reading.savedStep = numbers[4]
    reading.resumedStep = numbers[5]
    reading.activity = activity
    reading.work = numbers[7]
    reading.saveMilliseconds = numbers[8]
    reading.exitCode = numbers[9]
    self.init(
      incarnation: numbers[0], rank: numbers[1], sequence: numbers[2], reading: reading)
  }
}
