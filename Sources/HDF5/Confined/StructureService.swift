import Core
import Foundation
import Synchronization

/// The program as its own servant: a process that looks at one file, says what it found and ends.
///
/// `libhdf5` was not written for bytes that somebody made to harm their reader: it crashes, loops
/// and opens other files. So it meets such bytes only here, where nothing is left to open or to
/// lose, and where dying is an answer.
package enum StructureService {
  static let command = "read-structure"

  /// The file to look at is standard input, the answer goes to standard output.
  static let inputDescriptor = STDIN_FILENO

  private static let servesHere = Atomic(false)

  /// Call first in `main`: in a process started for that, it looks at the file and never returns.
  package static func serveIfAsked() {
    let arguments = CommandLine.arguments
    guard arguments.count == 3, arguments[1] == command else {
      servesHere.store(true, ordering: .relaxed)
      return
    }
    let reply = answer(path: arguments[2])
    let encoder = JSONEncoder()
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let data = try? encoder.encode(reply) else { _exit(ExitCode.internal.rawValue) }
    data.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
        let count = write(STDOUT_FILENO, rest.baseAddress, rest.count)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { _exit(ExitCode.internal.rawValue) }
        done += count
      }
    }
    // Without cleaning up: libhdf5 may be in any state.
    _exit(ExitCode.success.rawValue)
  }

  /// The program to start: this one, or (tests and other small programs) the one beside it.
  static var program: String {
    let own = "/proc/self/exe"
    guard !servesHere.load(ordering: .relaxed) else { return own }
    let path = (try? FileManager.default.destinationOfSymbolicLink(atPath: own)) ?? own
    return URL(fileURLWithPath: path).deletingLastPathComponent().path + "/lockstep"
  }

  private static func answer(path: String) -> StructureReply {
    do throws(Failure) {
      let place = Library.Place(file: path, object: nil)
      // The library's own preparations happen before the doors close.
      let driver = try DescriptorDriver.register(place)
      try Confinement.enter()
      let file = try File.open(descriptor: inputDescriptor, driver: driver, path: path)
      return .structure(try StructureWalk.structure(of: file))
    } catch {
      return .failure(exitCode: error.exitCode.rawValue, message: error.message)
    }
  }
}
