import Core
import Foundation
import Messaging

extension Communicator {
  /// Runs `body` on every rank; when it fails anywhere, every rank throws the failure of the lowest
  /// such rank, so that the job ends with one message and one exit code.
  ///
  /// Collective. `body` itself must not wait for other ranks after a failure of its own.
  package func together<Value>(_ body: () throws(Failure) -> Value) throws(Failure) -> Value {
    let result = Result { () throws(Failure) in try body() }
    var report: [UInt8] = []
    if case .failure(let failure) = result {
      report = Array("\(failure.exitCode.rawValue) \(failure.message)".utf8)
    }
    let reports = try allGather(bytes: report)
    guard let first = reports.firstIndex(where: { !$0.isEmpty }) else { return try result.get() }
    let parts = String(decoding: reports[first], as: UTF8.self).split(separator: " ", maxSplits: 1)
    let code = parts.first.flatMap { Int32($0) }.flatMap { ExitCode(rawValue: $0) } ?? .internal
    throw Failure(code, parts.count > 1 ? String(parts[1]) : "rank \(first) failed")
  }

  /// Rank 0's text on every rank.
  func broadcast(_ text: String) throws(Failure) -> String {
    String(decoding: try broadcast(Array(text.utf8), from: 0), as: UTF8.self)
  }
}
