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
      // Help and version are the parser's to print.
      root.exit(withError: error)
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

  /// One line on stderr; nothing without a message.
  static func say(_ message: String?) {
    if let message { StandardError.say(message) }
  }

  private static func finish(_ code: Core.ExitCode, saying message: String?) -> Never {
    say(message)
    finish(code)
  }

  private static func finish(_ code: Core.ExitCode) -> Never { finish(code.rawValue) }

  private static func finish(_ code: Int32) -> Never {
    fflush(nil)
    exit(code)
  }
}
