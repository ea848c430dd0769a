/// Tells mpirun's own words on stderr from the ranks': its notices stand between lines of dashes or
/// begin with `[host:123]`, `mpirun:` or `prterun:`, as OpenMPI 5 calls it.
package struct LauncherWords {
  package enum Line: Equatable {
    case rank(String)
    case launcher(String)
  }

  private var partial: [UInt8] = []
  private var isInsideNotice = false
  /// The first half of a sentence that goes on in the next line.
  private var begun: String?
  private static let longestLine = 1 << 16

  package init() {}

  /// The lines that are whole now, and at the end what is left.
  package mutating func take(_ bytes: [UInt8], isEnd: Bool = false) -> [Line] {
    // prterun writes the zero at the end of its notices, too.
    partial += bytes.lazy.filter { $0 != 0 }
    var lines: [Line] = []
    while let end = partial.firstIndex(of: UInt8(ascii: "\n")) {
      add(String(decoding: partial[..<end], as: UTF8.self), to: &lines)
      partial.removeSubrange(...end)
    }
    if !partial.isEmpty, isEnd || partial.count > Self.longestLine {
      add(String(decoding: partial, as: UTF8.self), to: &lines)
      partial = []
    }
    if isEnd, let begun {
      lines.append(.launcher(begun))
      self.begun = nil
    }
    return lines
  }

  private mutating func add(_ line: String, to lines: inout [Line]) {
    if let first = begun {
      begun = nil
      // Lines of ranks do not come between: a notice is written at once.
      lines.append(.launcher(first + " " + line))
    } else if isInsideNotice, line.contains(Self.endOfRank), line.hasSuffix(" exited on") {
      begun = line
    } else {
      lines.append(classify(line))
    }
  }

  private mutating func classify(_ line: String) -> Line {
    if line.utf8.count >= 40, line.utf8.allSatisfy({ $0 == UInt8(ascii: "-") }) {
      isInsideNotice.toggle()
      return .launcher(line)
    }
    let isLauncher =
      isInsideNotice || line.hasPrefix("mpirun: ") || line.hasPrefix("prterun: ")
      || Self.isSlurms(line) || line.prefixMatch(of: #/\[[^\]\s]+:[0-9]+\] /#) != nil
    return isLauncher ? .launcher(line) : .rank(line)
  }

  private static let endOfRank = "noticed that process rank"

  /// `mpirun noticed that process rank 1 with PID 0 on node a exited on signal 9 (Killed).`
  package static func endedRank(_ line: String) -> (rank: Int, signal: Int32)? {
    guard line.contains(endOfRank) else { return nil }
    let words = line.split(separator: " ")
    func number(after word: String) -> Int? {
      words.firstIndex(of: Substring(word)).flatMap { place in
        words.indices.contains(place + 1) ? Int(words[place + 1]) : nil
      }
    }
    guard let rank = number(after: "rank"), let signal = number(after: "signal") else { return nil }
    return (rank, Int32(clamping: signal))
  }

  /// `Remote daemon: [[18540,0],1] on node a`, `Remote daemon: [prterun-b-4@0,1] on node a`, in the
  /// notice of a host that mpirun lost: its name, as the host itself has it, and the number of the
  /// daemon, by which the other hosts of a launch are counted from 1.
  package static func lostHost(_ line: String) -> (name: String, daemon: Int)? {
    guard let match = line.wholeMatch(of: #/ *Remote daemon: \[\S+,([0-9]{1,7})\] on node (\S+)/#),
      let daemon = Int(match.1)
    else { return nil }
    return (String(match.2), daemon)
  }
}
