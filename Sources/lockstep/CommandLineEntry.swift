import ArgumentParser
import Core
import Foundation

/// Runs a command and gives the process its last line and its exit code: the only place where an
/// error becomes words on the terminal.
enum CommandLineEntry {
  /// Parses the process's arguments, runs what they ask for and ends the process.
  static func run<Root: ParsableCommand>(_ root: Root.Type) -> Never {
    StandardOutput.takeDescriptors()
    // A reader that has seen enough (`| head`) ends the process without a word.
    signal(SIGPIPE, SIG_DFL)
    // A file at its size limit fails its write like one on a full disk.
    signal(SIGXFSZ, SIG_IGN)
    if let problem = unreadableArgument { finish(.usage, saying: problem) }
    if let problem = smallStack { finish(.internal, saying: problem) }
    do {
      var command = try root.parseAsRoot()
      try command.run()
      try StandardOutput.finish()
      finish(.success)
    } catch let failure as Failure {
      finish(failure.exitCode, saying: failure.message.isEmpty ? nil : failure.message)
    } catch let code as ArgumentParser.ExitCode {
      finish(code.rawValue)
    } catch  where root.exitCode(for: error) == .failure {
      // Neither ours nor the parser's: nobody foresaw it.
      finish(.internal, saying: "unexpected error: \(error)")
    } catch  where root.exitCode(for: error) == .success {
      // Help, or the version.
      finish(.success, printing: root.fullMessage(for: error))
    } catch {
      // What was typed is in it: line by line, so that only its own line feeds stay.
      let lines = root.fullMessage(for: error).split(
        separator: "\n", omittingEmptySubsequences: false)
      let text = lines.map { escaped(String($0)) + "\n" }.joined()
      try? FileHandle.standardError.write(contentsOf: Data(text.utf8))
      finish(root.exitCode(for: error).rawValue)
    }
  }

  /// Why an argument cannot be taken as it was given; nil when all can.
  ///
  /// Swift's text holds UTF-8 only: with other bytes it would be the name of another file.
  private static var unreadableArgument: String? {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let argument = CommandLine.unsafeArgv[index],
        String(validatingCString: argument) == nil
      else { continue }
      return "argument \(index) ('\(String(cString: argument))'): is not UTF-8; enter the folder of"
        + " that name and give the path from there, or rename it"
    }
    return nil
  }

  /// Twice what the deepest call was seen to need.
  private static let stackByteCount: rlim_t = 256 << 10

  /// Why the main thread's stack is too small; nil when it is not. Its end is a signal.
  private static var smallStack: String? {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_STACK.rawValue), &limit) == 0,
      limit.rlim_cur < stackByteCount
    else { return nil }
    return "the system gives \(limit.rlim_cur) bytes of stack (ulimit -s), at least"
      + " \(stackByteCount) are needed"
  }

  /// One line on stderr; nothing without a message.
  static func say(_ message: String?) {
    if let message { StandardError.say(message) }
  }

  private static func finish(_ code: Core.ExitCode, saying message: String?) -> Never {
    say(message)
    finish(code)
  }

  private static func finish(_ code: Core.ExitCode, printing text: String) -> Never {
    do throws(Failure) {
      try StandardOutput.say(text)
      try StandardOutput.finish()
      finish(code)
    } catch {
      finish(error.exitCode, saying: error.message)
    }
  }

  private static func finish(_ code: Core.ExitCode) -> Never { finish(code.rawValue) }

  private static func finish(_ code: Int32) -> Never {
    fflush(nil)
    // Not `exit`: it has OpenBLAS wait for threads that, where memory is limited, ask for their
    // buffers for ever.
    _exit(code)
  }
}
