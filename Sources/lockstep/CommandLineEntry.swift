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
    } catch {
      // Help, version and usage errors are the parser's to print (exit code 0 and 64).
      root.exit(withError: error)
    }
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
