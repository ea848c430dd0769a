import CLinux
import Core
import Foundation

/// Has a confined process look at an open file.
///
/// The process gets the file, a pipe and nothing else.
enum StructureRequest {
  /// What the whole request may take; the process itself has `Confinement.processorSeconds`, so
  /// that only a file system that does not answer, or a machine without time, gets here.
  private static let deadlineSeconds = 30

  /// Throws: `Failure(.badData)` for a file that is refused, or whose reader dies of it;
  /// `Failure(.internal)` when no process can be started.
  static func structure(of file: borrowing OpenFile) throws(Failure) -> Structure {
    let path = file.path
    var ends: [Int32] = [0, 0]
    guard lockstep_pipe(&ends) == 0 else {
      throw FileSystem.failure(.internal, "make a pipe to look into it", path)
    }
    defer { close(ends[0]) }
    let process: pid_t
    do throws(Failure) {
      process = try ServantProcess.start(
        StructureService.command, on: path, input: file.descriptor, output: ends[1], place: path)
    } catch {
      close(ends[1])
      throw error
    }
    close(ends[1])
    let (reply, isComplete) = collect(from: ends[0])
    // It has said all it has to say, or has had its time.
    kill(process, SIGKILL)
    let status = ServantProcess.wait(for: process)
    guard isComplete else {
      throw Failure(
        .badData,
        "\(path): its structure could not be read within limits (\(deadlineSeconds) s, "
          + "\(Structure.replyByteLimit >> 20) MiB of description); nothing of it was used")
    }
    return try decode(reply, status, path)
  }

  /// Reads to the end; false when the process takes too long or says too much.
  ///
  /// All its time counts, whether it says something or not, but of one wait no more than a second:
  /// while this process was stopped itself, nobody was late.
  private static func collect(from descriptor: Int32) -> (reply: Data, isComplete: Bool) {
    var seconds = 0.0
    var reply = Data()
    var block = [UInt8](repeating: 0, count: 64 << 10)
    while reply.count <= Structure.replyByteLimit, seconds < Double(deadlineSeconds) {
      let stopwatch = Stopwatch()
      defer { seconds += min(1, stopwatch.seconds) }
      var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      guard poll(&waiting, 1, 1000) > 0 else { continue }
      let count = block.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count == 0 { return (reply, true) }
      if count > 0 { reply.append(contentsOf: block[..<count]) }
    }
    return (reply, false)
  }

  private static func decode(
    _ reply: Data, _ status: Int32, _ path: String
  ) throws(Failure) -> Structure {
    let decoder = JSONDecoder()
    decoder.nonConformingFloatDecodingStrategy = .convertFromString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    switch try? decoder.decode(StructureReply.self, from: reply) {
    case .structure(let structure): return structure
    case .failure(let code, let message):
      let isOurs = code == ExitCode.internal.rawValue
      throw Failure(isOurs ? .internal : .badData, escaped(String(message.prefix(1000))))
    case nil:
      let signal = status & 0x7f
      guard signal == 0 else {
        let cause =
          signal == SIGXCPU || signal == SIGKILL
          ? "took more than \(Confinement.processorSeconds) s"
          : "made its reader crash (signal \(signal))"
        throw Failure(
          .badData,
          "\(path): is damaged or made to do harm: its structure \(cause), in a process of its own;"
            + " nothing of it was used")
      }
      throw Failure(
        .internal,
        "\(path): \(ServantProcess.program) does not describe files (exit code "
          + "\(status >> 8 & 0xff)); it must be the program lockstep of this version")
    }
  }
}
