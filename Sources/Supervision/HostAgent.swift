import Core
import Foundation

/// How a command is run on another host of the job.
package enum HostAgent: Equatable, Sendable {
  /// By a program like ssh, which takes options, a host and one command for the shell there.
  case shell([String])
  /// By Slurm, as a step beside the ranks: without logins and keys, inside the limits of the job.
  /// All of the job's memory (`--mem=0`), as a step of mpirun's daemons may have taken it.
  case slurm(srun: String)

  /// The words that run a program with its arguments on a host.
  package func words(host: JobHost, command: [String], libraries: String?) -> [String] {
    switch self {
    case .shell(let program):
      let prefix = libraries.map { ["env", "LD_LIBRARY_PATH=\($0)"] } ?? []
      let line = (prefix + command).map(LaunchLine.quoted).joined(separator: " ")
      return program + [host.address, line]
    case .slurm(let srun):
      return [
        srun, "--overlap", "--nodes=1", "--ntasks=1", "--nodelist=\(host.name)",
        "--cpu-bind=none", "--mem=0", "--quiet",
      ] + command
    }
  }

  /// What an answer that is none says, in a few words: the last line of the agent or of the program
  /// there, and its code.
  package static func reason(
    _ end: ProcessEnd?, said: [UInt8], withinSeconds limit: Double
  ) -> String {
    let line = String(decoding: said, as: UTF8.self).split(whereSeparator: \.isNewline)
      .map { $0.trimmingCharacters(in: .whitespaces) }.last { !$0.isEmpty }
    let words = line.map { escaped(String($0.prefix(200))) }
    switch end {
    case nil:
      return "no answer within \(Int(limit.rounded(.up))) s" + (words.map { ": \($0)" } ?? "")
    case .signal(let number):
      return (words.map { "\($0); " } ?? "") + "ended by \(SignalName.text(number))"
    case .exit(127): return "the program does not start there: \(words ?? "exit code 127")"
    case .exit(let code): return (words.map { "\($0); " } ?? "") + "exit code \(code)"
    }
  }
}
