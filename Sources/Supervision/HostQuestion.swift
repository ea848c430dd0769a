import Core
import Foundation

/// A host that is asked to run a command.
final class HostQuestion {
  enum Answer: Equatable {
    /// The command ran well, and printed this.
    case text(String)
    /// Why there is no answer.
    case none(reason: String)
  }

  private let child: SpawnedProcess?
  private let problem: String?
  private var said: [UInt8] = []
  private var printed: [UInt8] = []
  private static let byteLimit = 1 << 14

  init(
    _ host: JobHost, agent: HostAgent, command: [String], environment: [String: String]
  ) {
    let words = agent.words(
      host: host, command: command, libraries: environment["LD_LIBRARY_PATH"])
    do throws(Failure) {
      child = try SpawnedProcess(words, environment: environment)
      problem = nil
    } catch {
      child = nil
      problem = error.message
    }
  }

  /// What all of them answer that do within a time; the others are ended.
  static func answers(_ questions: [HostQuestion], withinSeconds limit: Double) -> [Answer] {
    let watch = Stopwatch()
    while watch.seconds < limit, questions.contains(where: { $0.isOpen }) { usleep(5000) }
    return questions.map { $0.answer(afterSeconds: limit) }
  }

  /// Whether it may still be answered; takes what was said meanwhile.
  private var isOpen: Bool {
    guard let child else { return false }
    let end = child.poll()
    listen(child)
    return end == nil
  }

  private func listen(_ child: SpawnedProcess) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    while case let count = read(child.output, &buffer, buffer.count), count > 0 {
      printed = (printed + buffer[..<count]).suffix(Self.byteLimit)
    }
    // The end of what is said tells why.
    while case let count = read(child.error, &buffer, buffer.count), count > 0 {
      said = (said + buffer[..<count]).suffix(Self.byteLimit)
    }
  }

  private func answer(afterSeconds limit: Double) -> Answer {
    guard let child else { return .none(reason: problem ?? "") }
    let end = child.poll() ?? child.wait(seconds: 0)
    listen(child)
    if end == .exit(0) { return .text(String(decoding: printed, as: UTF8.self)) }
    return .none(reason: HostAgent.reason(end, said: said, withinSeconds: limit))
  }
}
