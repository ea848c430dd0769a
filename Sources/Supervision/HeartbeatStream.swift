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
