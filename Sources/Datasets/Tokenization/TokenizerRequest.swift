import Core
import Foundation
import HDF5

/// Has a process of its own learn a vocabulary (`TokenizerService`).
enum TokenizerRequest {
  enum Answer {
    case model([UInt8])
    /// Why the trainer has none.
    case reason(String)
    case died(String)
  }

  /// Throws: `Failure(.internal)` when no process can be started.
  static func answer(
    to words: LearningWords, options: String
  ) throws(Failure) -> Answer {
    // A socket, not a pipe: whoever writes to a dead process is told so instead of ended.
    var ends: [Int32] = [-1, -1]
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    guard socketpair(AF_UNIX, kind, 0, &ends) == 0 else {
      throw FileSystem.failure(.internal, "make a socket", "tokenizer")
    }
    let own = ends[0]
    defer { close(own) }
    let process = try start(options, socket: ends[1])
    send([UInt64(words.ends.count)], to: own)
    send(words.ends, to: own)
    send(words.bytes, to: own)
    shutdown(own, Int32(SHUT_WR))
    // A child that is gone with the request half read resets the connection.
    let reply = (try? InputFile.rest(of: own, path: "tokenizer")) ?? []
    let status = ServantProcess.wait(for: process)
    guard status == 0, let kind = reply.first else { return .died(end(status)) }
    let body = Array(reply.dropFirst())
    return kind == TokenizerService.isModel
      ? .model(body) : .reason(String(decoding: body, as: UTF8.self))
  }

  /// Gives a process the socket and closes it here.
  private static func start(_ options: String, socket: Int32) throws(Failure) -> pid_t {
    defer { close(socket) }
    return try ServantProcess.start(
      TokenizerService.command, on: options, input: socket, output: socket, place: "tokenizer")
  }

  /// Sends numbers as they lie; what a dead process does not take is not missed.
  private static func send<Number: BitwiseCopyable>(_ numbers: [Number], to socket: Int32) {
    numbers.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
        let count = Glibc.send(socket, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return }
        done += count
      }
    }
  }

  private static func end(_ status: Int32) -> String {
    let signal = status & 0x7f
    if signal == SIGKILL { return "signal 9: killed, as when memory runs out" }
    return signal == 0 ? "exit code \(status >> 8 & 0xff)" : "signal \(signal)"
  }
}
