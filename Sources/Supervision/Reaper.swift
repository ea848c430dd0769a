import Core
import Foundation
import Training

/// Finds and ends processes of a job by what only they carry: the job's number in their environment
/// or as a word of their command line. Never by a name, and never by a process number from before.
package enum Reaper {
  /// Processes of the job on this host, of this user; nil where that cannot be told for the moment.
  package static func processes(of job: String) -> [pid_t]? {
    precondition(SupervisedLaunch.isJob(job), "a job is known by 32 digits")
    let variable = Array("\(SupervisedLaunch.jobVariable)=\(job)".utf8)
    let word = Array(job.utf8)
    guard let names = try? FileManager.default.contentsOfDirectory(atPath: "/proc") else {
      return nil
    }
    var found: [pid_t] = []
    for process in names.compactMap({ pid_t($0) }) where process != getpid() {
      let files = [(variable, "/proc/\(process)/environ"), (word, "/proc/\(process)/cmdline")]
      for (text, path) in files where found.last != process {
        guard let isThere = contains(text, path) else { return nil }
        if isThere { found.append(process) }
      }
    }
    return found
  }

  /// Sends them all a signal.
  static func signal(_ number: Int32, to job: String) {
    for process in processes(of: job) ?? [] { kill(process, number) }
  }

  /// Sends a signal to those that train.
  static func signal(_ number: Int32, toRanksOf job: String) {
    for process in processes(of: job) ?? [] {
      let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
      guard line.split(separator: 0).dropFirst().first.map({ Array($0) }) == Array("train".utf8)
      else { continue }
      kill(process, number)
    }
  }

  /// Ends them all and takes away what they shared; true when none is left.
  package static func end(job: String, withinSeconds limit: Double = 5) -> Bool {
    let watch = Stopwatch()
    while true {
      let living = processes(of: job)
      if living == [] {
        HostBoard.removeNames(job: job)
        return true
      }
      guard watch.seconds < limit else { return false }
      for process in living ?? [] { kill(process, SIGKILL) }
      usleep(10_000)
    }
  }

  /// Whether a file of words that end with zero has this one; nil where it cannot be opened for
  /// want of memory or descriptors. A zombie's files are empty.
  private static func contains(_ word: [UInt8], _ path: String) -> Bool? {
    guard let file = fopen(path, "re") else {
      // Another user's, or gone meanwhile.
      return [ENOMEM, EMFILE, ENFILE, EINTR].contains(errno) ? nil : false
    }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    // The kernel allows megabytes of arguments; ours lie early.
    while bytes.count < 1 << 22 {
      let count = fread(&buffer, 1, buffer.count, file)
      guard count > 0 else { break }
      bytes += buffer[..<count]
    }
    return bytes.split(separator: 0).contains { $0.elementsEqual(word) }
  }
}
