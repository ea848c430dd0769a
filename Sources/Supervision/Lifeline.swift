import Core
import Foundation
import Training

/// The process that outlives the supervisor by a moment: it holds the other end of a pipe, and when
/// that closes, however the supervisor went, it ends every process of the job and removes the job's
/// temporary folders.
///
/// It is a process and not PDEATHSIG, which follows the thread that spawned, and it ends ranks too,
/// not mpirun alone.
package enum Lifeline {
  /// What the supervisor writes into the pipe first.
  package static func message(job: String, folders: [String]) -> [UInt8] {
    Array(([job] + folders).joined(separator: "\n").utf8) + [0]
  }

  /// The process's whole life: waits for the end of standard input.
  package static func run() {
    for number in [SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE] { signal(number, SIG_IGN) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    while true {
      let count = read(STDIN_FILENO, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      if bytes.count < 1 << 16 { bytes += buffer[..<count] }
    }
    guard let end = bytes.firstIndex(of: 0) else { return }
    let words = String(decoding: bytes[..<end], as: UTF8.self).filledLines
    guard let job = words.first.map(String.init), SupervisedLaunch.isJob(job) else { return }
    _ = Reaper.end(job: job, withinSeconds: 30)
    for folder in words.dropFirst() where folder.hasSuffix("lockstep-\(job)") {
      try? FileSystem.remove(String(folder))
    }
  }
}
