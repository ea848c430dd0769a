import Core
import Foundation
import Synchronization
import Training

/// What happens on the hosts of a job beside mpirun: ending what is left of the job, which also
/// tells whether they answer. It runs on a thread of its own and leaves its answer in the inbox.
final class JobControl: Sendable {
  /// A login takes a second, ending what is left five at most; recovery waits for who is silent.
  private static let answerSeconds = 8.0

  private let line: LaunchLine.Job
  private let inbox = Mutex<[SupervisorEvent]>([])

  init(_ line: LaunchLine.Job) { self.line = line }

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
      inbox.withLock { $0.append(.reaped(number: number, silentHosts: silent)) }
    }
  }

  /// Returns the hosts that did not answer.
  @discardableResult
  func reapNow(_ job: String) -> [Int] {
    _ = Reaper.end(job: job)
    let answers = onRemoteHosts(line.reapCommand(job))
    return answers.indices.filter { !answers[$0] }
  }

  /// Which hosts ran a command of a shell there well, all asked at once; this one always did.
  private func onRemoteHosts(_ command: String) -> [Bool] {
    let children = line.hosts.map { host -> SpawnedProcess? in
      guard !host.isLocal else { return nil }
      return try? SpawnedProcess(
        line.agent + [host.name, command], environment: line.environment, output: .nothing)
    }
    let watch = Stopwatch()
    return zip(line.hosts, children).map { host, child in
      if host.isLocal { return true }
      return child?.wait(seconds: max(0.1, Self.answerSeconds - watch.seconds)) == .exit(0)
    }
  }
}
