import CLinux
import Core
import Foundation

/// Has a confined process look at an open file.
///
/// The process gets the file, a pipe and nothing else: no other descriptor, no environment, no
/// signal that was meant for its parent.
enum StructureRequest {
  /// What the whole request may take; the process itself has `Confinement.processorSeconds`, so
  /// that only a file system that does not answer, or a machine without time, gets here.
  private static let deadlineSeconds = 30

  /// Throws: `Failure(.badData)` for a file that is refused, or whose reader dies of it;
  /// `Failure(.internal)` when no process can be started.
  static func structure(of file: borrowing OpenFile) throws(Failure) -> Structure {
    let path = file.path
    var ends: [Int32] = [0, 0]
    guard lockstep_pipe(&ends) == 0 else { throw systemFailure(path, "make a pipe", errno) }
    defer { close(ends[0]) }
    let process: pid_t
    do throws(Failure) {
      process = try start(path, input: file.descriptor, output: ends[1])
    } catch {
      close(ends[1])
      throw error
    }
    close(ends[1])
    let (reply, isComplete) = collect(from: ends[0])
    // It has said all it has to say, or has had its time.
    kill(process, SIGKILL)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    guard isComplete else {
      throw Failure(
        .badData,
        "\(path): its structure could not be read within limits (\(deadlineSeconds) s, "
          + "\(Structure.replyByteLimit >> 20) MiB of description); nothing of it was used")
    }
    return try decode(reply, status, path)
  }

  private static func start(
    _ path: String, input: Int32, output: Int32
  ) throws(Failure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    guard posix_spawn_file_actions_init(&actions) == 0, posix_spawnattr_init(&attributes) == 0
    else { throw systemFailure(path, "prepare a process", errno) }
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    // Blocked for good: a request to the rank to save and stop must not look like a crash here.
    var signals = sigset_t()
    sigfillset(&signals)
    let codes = [
      posix_spawn_file_actions_adddup2(&actions, input, StructureService.inputDescriptor),
      posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO),
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0),
      lockstep_close_from(&actions, STDERR_FILENO + 1),
      posix_spawnattr_setsigmask(&attributes, &signals),
      posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK)),
    ]
    guard codes.allSatisfy({ $0 == 0 }) else {
      throw systemFailure(path, "prepare a process", codes.first { $0 != 0 } ?? 0)
    }
    let program = StructureService.program
    var process: pid_t = 0
    let code = withCStrings(["lockstep", StructureService.command, path]) { arguments in
      withCStrings(environment) { environment in
        posix_spawn(&process, program, &actions, &attributes, arguments, environment)
      }
    }
    guard code == 0 else { throw systemFailure(path, "start \(program)", code) }
    return process
  }

  /// Where this process found its libraries, and no threads: nothing else of the environment is
  /// anybody's business there.
  private static var environment: [String] {
    let place = getenv("LD_LIBRARY_PATH").map { ["LD_LIBRARY_PATH=" + String(cString: $0)] } ?? []
    return place + ["OPENBLAS_NUM_THREADS=1"]
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
        "\(path): \(StructureService.program) does not describe files (exit code "
          + "\(status >> 8 & 0xff)); it must be the program lockstep of this version")
    }
  }

  private static func systemFailure(_ path: String, _ verb: String, _ code: Int32) -> Failure {
    Failure(
      .internal, "\(path): cannot \(verb) to look into it (\(String(cString: strerror(code))))")
  }
}

/// Runs `body` with texts as a C array that ends with a null pointer.
private func withCStrings<Result>(
  _ texts: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
) -> Result {
  let copies = texts.map { strdup($0) }
  defer { for copy in copies { free(copy) } }
  return body(copies + [nil])
}
