import Core
import Foundation

/// A program run to its end, with its output in files.
///
/// Foundation's `Process` needs a run loop with sockets to notice the end, and waits for ever where
/// a container has no network at all.
struct ChildProgram {
  var path: String
  var arguments: [String]
  /// Existing folder for the files.
  var scratch: String

  struct Outcome {
    /// 0 when the program ended well.
    var status: Int32
    var output: [UInt8]
    /// The last line it complained with.
    var complaint: String
  }

  /// Throws: `Failure` (.missingInput) when the program cannot be started.
  func run() throws(Failure) -> Outcome {
    let (output, errors) = ("\(scratch)/stdout", "\(scratch)/stderr")
    let process = try start(output: output, errors: errors)
    var status: Int32 = 0
    while waitpid(process, &status, 0) < 0 {
      guard errno == EINTR else { throw FileSystem.failure(.internal, "wait for", path) }
    }
    let complaints = String(decoding: try InputFile.bytes(of: errors), as: UTF8.self)
    return Outcome(
      status: status, output: try InputFile.bytes(of: output),
      complaint: complaints.filledLines.last.map(String.init) ?? "")
  }

  private func start(output: String, errors: String) throws(Failure) -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let writing = O_WRONLY | O_CREAT | O_TRUNC
    var code = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
    if code == 0 {
      code = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, writing, 0o600)
    }
    if code == 0 {
      code = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, errors, writing, 0o600)
    }
    // Messages in English, whatever the person's language.
    let environment = ProcessInfo.processInfo.environment.merging(["LC_ALL": "C"]) { $1 }
    let words = ([path] + arguments).map { strdup($0) }
    let settings = environment.map { strdup("\($0.key)=\($0.value)") }
    defer { (words + settings).forEach { free($0) } }
    var process: pid_t = 0
    if code == 0 {
      code = posix_spawn(&process, path, &actions, nil, words + [nil], settings + [nil])
    }
    guard code == 0 else {
      throw Failure(.missingInput, "\(path): cannot run (\(String(cString: strerror(code))))")
    }
    return process
  }
}
