import Foundation

/// What Slurm says among the words of its step.
extension LauncherWords {
  /// True for a line of srun or of Slurm's daemon on a node.
  static func isSlurms(_ line: String) -> Bool {
    line.hasPrefix("srun: ") || line.hasPrefix("slurmstepd: ") || line.hasPrefix("slurmstepd-")
  }

  /// `srun: error: n2: task 1: Killed`, `srun: error: n2: tasks 2-3: Exited with exit code 79`: the
  /// first of the ranks.
  package static func endedTask(_ line: String) -> (rank: Int, end: ProcessEnd)? {
    guard let match = line.wholeMatch(of: #/srun: error: \S+: tasks? ([0-9]{1,7})[0-9,-]*: (.+)/#),
      let rank = Int(match.1)
    else { return nil }
    let how = String(match.2)
    if let code = how.wholeMatch(of: #/Exited with exit code ([0-9]{1,3})/#) {
      return Int32(code.1).map { (rank, .exit($0)) }
    }
    if how == outOfMemory { return (rank, .signal(SIGKILL)) }
    let signal = how.replacing(" (core dumped)", with: "")
    return (1..<32).first { String(cString: strsignal($0)) == signal }.map { (rank, .signal($0)) }
  }

  /// `srun: error: n2: task 1: Out Of Memory`: the kernel of that node has ended it, as the job's
  /// limit was reached there.
  package static func taskOutOfMemory(_ line: String) -> Int? {
    line.hasSuffix(": " + outOfMemory) ? endedTask(line)?.rank : nil
  }

  private static let outOfMemory = "Out Of Memory"

  /// `srun: error: Node failure on n2`.
  package static func failedNode(_ line: String) -> String? {
    line.wholeMatch(of: #/srun: error: Node failure on ([^\s,\[\]]+)/#).map { String($0.1) }
  }
}
