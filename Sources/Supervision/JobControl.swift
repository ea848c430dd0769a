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
    @Sendable func answer() {
      let silent = reapNow(job)
      inbox.withLock { $0.append(.reaped(number: number, silent: silent)) }
    }
    // Without a thread whoever watches has to wait for the answer: there are no ranks to watch.
    if (try? ServiceThread.start("reaper", answer)) == nil { answer() }
  }

  /// Returns the hosts that did not answer, all asked at once; this one always does.
  @discardableResult
  func reapNow(_ job: String) -> [SilentHost] {
    let others = line.hosts.indices.filter { !line.hosts[$0].isLocal }
    let questions = others.map { host in
      HostQuestion(
        line.hosts[host], agent: line.agent, command: [line.program[0], "reap", "--job=\(job)"],
        environment: line.environment)
    }
    _ = Reaper.end(job: job)
    let answers = HostQuestion.answers(questions, withinSeconds: answerSeconds)
    return zip(others, answers).compactMap { host, answer in
      if case .none(let reason) = answer { SilentHost(host: host, reason: reason) } else { nil }
    }
  }
}
