import Core
import Foundation
import Synchronization
import Training

/// What happens on the hosts of a job beside mpirun: ending what is left of the job, which also
/// tells whether they answer. It runs on a thread of its own and leaves its answer in the inbox.
final class JobControl: Sendable {
  /// A login takes a second, ending what is left five at most; recovery waits for who is silent.
  private static let answerSeconds = 8.0

  private let hosts: [JobHost]
  private let agent: [String]
  private let binary: String
  private let environment: [String: String]
  private let inbox = Mutex<[SupervisorEvent]>([])

  init(hosts: [JobHost], agent: [String], binary: String, environment: [String: String]) {
    self.hosts = hosts
    self.agent = agent
    self.binary = binary
    self.environment = environment
  }

  /// What has been answered since the last call.
  func takeEvents() -> [SupervisorEvent] {
    inbox.withLock { events in
      defer { events = [] }
      return events
    }
  }

  /// Ends every process of the jobs, here and on the other hosts.
  func reap(_ jobs: [String], except own: Set<pid_t>) {
    Thread.detachNewThread { [self] in
      reapNow(jobs, except: own) { silent in
        inbox.withLock { $0.append(.reaped(silentHosts: silent)) }
      }
    }
  }

  func reapNow(_ jobs: [String], except own: Set<pid_t>, _ done: ([Int]) -> Void) {
    for job in jobs { _ = Reaper.end(job: job, except: own) }
    let words = jobs.map { "--job=\($0)" }.joined(separator: " ")
    let answers = onRemoteHosts("'\(binary.replacing("'", with: "'\\''"))' reap \(words)")
    done(answers.indices.filter { !answers[$0] })
  }

  /// Which hosts ran a command of a shell there well, all asked at once; this one always did.
  private func onRemoteHosts(_ command: String) -> [Bool] {
    let children = hosts.map { host -> SpawnedProcess? in
      guard !host.isLocal else { return nil }
      return try? SpawnedProcess(
        agent + [host.name, command], environment: environment, output: .nothing)
    }
    let watch = Stopwatch()
    return zip(hosts, children).map { host, child in
      if host.isLocal { return true }
      return child?.wait(seconds: max(0.1, Self.answerSeconds - watch.seconds)) == .exit(0)
    }
  }
}
