import Training

/// Takes heartbeats out of what the ranks say and leaves the rest as it was.
package struct HeartbeatStream {
  private let job: String
  private var frame: [UInt8]?
  private var dropsLineEnd = false
  /// Frames that were none: torn, too long, of another job.
  package private(set) var malformedCount = 0

  package init(job: String) { self.job = job }

  /// Text of `bytes`; the heartbeats among them go to `hear`, one a rank.
  package mutating func take(
    _ bytes: some Collection<UInt8>, _ hear: (Heartbeat) -> Void
  ) -> [UInt8] {
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count)
    for byte in bytes {
      if dropsLineEnd {
        dropsLineEnd = false
        if byte == UInt8(ascii: "\n") { continue }
      }
      guard var inside = frame else {
        if byte == HeartbeatFrame.start { frame = [] } else { text.append(byte) }
        continue
      }
      frame = nil
      switch byte {
      case HeartbeatFrame.end:
        dropsLineEnd = true
        if let found = HeartbeatFrame(bytes: inside, job: job) {
          found.heartbeats.forEach(hear)
        } else {
          malformedCount += 1
        }
      case HeartbeatFrame.start:
        malformedCount += 1
        frame = []
      default:
        inside.append(byte)
        if inside.count > HeartbeatFrame.byteLimit || byte < 0x20 {
          // No frame has such bytes: somebody's words.
          malformedCount += 1
          text += inside
        } else {
          frame = inside
        }
      }
    }
    return text
  }
}

/// Tells mpirun's own words on stderr from the ranks': its notices stand between lines of dashes or
/// begin with `[host:123]` or `mpirun:`.
package struct LauncherWords {
  package enum Line: Equatable {
    case rank(String)
    case launcher(String)
  }

  private var partial: [UInt8] = []
  private var isInsideNotice = false
  private static let longestLine = 1 << 16

  package init() {}

  /// The lines that are whole now, and at the end what is left.
  package mutating func take(_ bytes: [UInt8], isEnd: Bool = false) -> [Line] {
    partial += bytes
    var lines: [Line] = []
    while let end = partial.firstIndex(of: UInt8(ascii: "\n")) {
      lines.append(classify(String(decoding: partial[..<end], as: UTF8.self)))
      partial.removeSubrange(...end)
    }
    if !partial.isEmpty, isEnd || partial.count > Self.longestLine {
      lines.append(classify(String(decoding: partial, as: UTF8.self)))
      partial = []
    }
    return lines
  }

  private mutating func classify(_ line: String) -> Line {
    if line.utf8.count >= 40, line.utf8.allSatisfy({ $0 == UInt8(ascii: "-") }) {
      isInsideNotice.toggle()
      return .launcher(line)
    }
    let isLauncher =
      isInsideNotice || line.hasPrefix("mpirun: ") || Self.isSlurms(line)
      || line.prefixMatch(of: #/\[[^\]\s]+:[0-9]+\] /#) != nil
    return isLauncher ? .launcher(line) : .rank(line)
  }

  /// `mpirun noticed that process rank 1 with PID 0 on node a exited on signal 9 (Killed).`
  package static func endedRank(_ line: String) -> (rank: Int, signal: Int32)? {
    guard line.contains("noticed that process rank") else { return nil }
    let words = line.split(separator: " ")
    func number(after word: String) -> Int? {
      words.firstIndex(of: Substring(word)).flatMap { place in
        words.indices.contains(place + 1) ? Int(words[place + 1]) : nil
      }
    }
    guard let rank = number(after: "rank"), let signal = number(after: "signal") else { return nil }
    return (rank, Int32(clamping: signal))
  }

  /// `Remote daemon: [[18540,0],1] on node a`, in the notice of a host that mpirun lost.
  package static func lostHost(_ line: String) -> String? {
    let words = line.split(separator: " ")
    guard words.count == 6, words[0] == "Remote", words[1] == "daemon:", words[4] == "node" else {
      return nil
    }
    return String(words[5])
  }
}
