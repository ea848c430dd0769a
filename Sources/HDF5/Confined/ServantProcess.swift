import CLinux
import Core
import Foundation
import Synchronization

/// The program started once more, to do one thing apart from this process: there, dying is an
/// answer.
///
/// It gets its standard input and output and nothing else: no other descriptor, no environment, no
/// signal that was meant for its parent.
package enum ServantProcess {
  private static let servesHere = Atomic(false)

  /// What a process that was started for `command` is to work on; nil in every other.
  ///
  /// Call first in `main`: the program becomes its own servant only if it asks.
  package static func argument(for command: String) -> String? {
    servesHere.store(true, ordering: .relaxed)
    let arguments = CommandLine.arguments
    return arguments.count == 3 && arguments[1] == command ? arguments[2] : nil
  }

  /// The program to start: this one, or (tests and other small programs) the one beside it.
  package static var program: String {
    let own = "/proc/self/exe"
    guard !servesHere.load(ordering: .relaxed) else { return own }
    let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: own)) ?? own
    return URL(fileURLWithPath: path).deletingLastPathComponent().path + "/lockstep"
  }

  /// Starts a servant; its standard error is nobody's.
  ///
  /// - Parameters:
  ///   - input, output: descriptors of this process, which stay the caller's to close.
  ///   - place: what the servant is for, for the message.
  /// Returns: its process number; the caller waits for its end.
  /// Throws: `Failure(.internal)` when no process can be started.
  package static func start(
    _ command: String, on argument: String, input: Int32, output: Int32, place: String
  ) throws(Failure) -> pid_t {
    func failure(_ verb: String, _ code: Int32) -> Failure {
      Failure(.internal, "\(place): cannot \(verb) (\(String(cString: strerror(code))))")
    }
    var actions = posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    guard posix_spawn_file_actions_init(&actions) == 0, posix_spawnattr_init(&attributes) == 0
    else { throw failure("prepare a process of its own", errno) }
    defer {
      posix_spawn_file_actions_destroy(&actions)
      posix_spawnattr_destroy(&attributes)
    }
    // Blocked for good: a request to the parent to save and stop must not look like a crash here.
    var signals = sigset_t()
    sigfillset(&signals)
    let codes = [
      posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO),
      posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO),
      posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0),
      lockstep_close_from(&actions, STDERR_FILENO + 1),
      posix_spawnattr_setsigmask(&attributes, &signals),
      posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK)),
    ]
    guard codes.allSatisfy({ $0 == 0 }) else {
      throw failure("prepare a process of its own", codes.first { $0 != 0 } ?? 0)
    }
    let program = program
    var process: pid_t = 0
    let code = withCStrings(["lockstep", command, argument]) { arguments in
      withCStrings(environment) { environment in
        posix_spawn(&process, program, &actions, &attributes, arguments, environment)
      }
    }
    guard code == 0 else { throw failure("start \(program) as a process of its own", code) }
    return process
  }

  /// Has the kernel end this process when the thread that started it does.
  ///
  /// Returns: whether it will.
  package static func endWithParent() -> Bool { lockstep_end_with_parent() == 0 }

  /// Says a servant's answer on standard output and ends its process.
  package static func finish(saying answer: some ContiguousBytes) -> Never {
    let isSaid = answer.withUnsafeBytes { FileSystem.writeAll(Array($0), to: STDOUT_FILENO) }
    guard isSaid else { _exit(ExitCode.internal.rawValue) }
    // Without cleaning up: a library may be in any state.
    _exit(ExitCode.success.rawValue)
  }

  /// Waits for a servant's end.
  ///
  /// Returns: how it ended, as `waitpid` says it.
  package static func wait(for process: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 && errno == EINTR {}
    return status
  }

  /// Where this process found its libraries, and no threads: nothing else of the environment is
  /// anybody's business there.
  private static var environment: [String] {
    let place = getenv("LD_LIBRARY_PATH").map { ["LD_LIBRARY_PATH=" + String(cString: $0)] } ?? []
    return place + ["OPENBLAS_NUM_THREADS=1"]
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
