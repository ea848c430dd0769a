import Core
import Foundation
import Synchronization
import Training

/// What happens on the hosts of a job beside mpirun: ending what is left of the job, which also
/// tells whether they answer. It runs on a thread of its own and leaves its answer in the inbox.
final class JobControl: Sendable {
  private let line: LaunchLine.Job
  /// A login takes a second, ending what is left five at most; recovery waits for who is silent.
  private let answerSeconds: Double
  private let inbox = Mutex<[SupervisorEvent]>([])

  init(_ line: LaunchLine.Job, answerSeconds: Double) {
    self.line = line
    self.answerSeconds = answerSeconds
  }

  /// What has been answered since the last call.
  func takeEvents() -> [SupervisorEvent] {
    inbox.withLock { events in
      defer { events = [] }
      return events
    }
  }

  /// Ends every process of a job, here and on the other hosts.
  func reap(_ job: String, number: Int) {
    Thread.detachNewThread { [self] in
      let silent = reapNow(job)
      inbox.withLock { $0.append(.reaped(number: number, silent: silent)) }
    }
  }

  /// Returns the hosts that did not answer, all asked at once; this one always does.
  @discardableResult
  func reapNow(_ job: String) -> [SilentHost] {
    let questions = line.hosts.indices.filter { !line.hosts[$0].isLocal }.map { host in
      Question(host, line, command: [line.program[0], "reap", "--job=\(job)"])
    }
    _ = Reaper.end(job: job)
    let watch = Stopwatch()
    while watch.seconds < answerSeconds, questions.contains(where: { $0.isOpen }) {
      usleep(5000)
    }
    return questions.compactMap { $0.silence(afterSeconds: answerSeconds) }
  }
}

/// One host that is asked to run a command.
private final class Question {
  private let host: Int
  private let child: SpawnedProcess?
  private let problem: String?
  private var said: [UInt8] = []
  private static let saidLimit = 1 << 14

  init(_ host: Int, _ line: LaunchLine.Job, command: [String]) {
    self.host = host
    let words = line.agent.words(
      host: line.hosts[host], command: command, libraries: line.environment["LD_LIBRARY_PATH"])
    do throws(Failure) {
      child = try SpawnedProcess(words, environment: line.environment)
      problem = nil
    } catch {
      child = nil
      problem = error.message
    }
  }

  /// Whether it may still be answered; takes what was said meanwhile.
  var isOpen: Bool {
    guard let child else { return false }
    let end = child.poll()
    listen(child)
    return end == nil
  }

  private func listen(_ child: SpawnedProcess) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    for descriptor in [child.output, child.error] {
      while case let count = read(descriptor, &buffer, buffer.count), count > 0 {
        // The end of what is said tells why; the output only has to be taken.
        if descriptor == child.error { said = (said + buffer[..<count]).suffix(Self.saidLimit) }
      }
    }
  }

  /// Nil where the command ran well; one that still runs is ended.
  func silence(afterSeconds limit: Double) -> SilentHost? {
    guard let child else { return SilentHost(host: host, reason: problem ?? "") }
    let end = child.poll() ?? child.wait(seconds: 0)
    listen(child)
    guard end != .exit(0) else { return nil }
    return SilentHost(
      host: host, reason: HostAgent.reason(end, said: said, withinSeconds: limit))
  }
}
