import Core
import Foundation

/// The program as its own servant: a process that looks at one file, says what it found and ends.
///
/// `libhdf5` was not written for bytes that somebody made to harm their reader: it crashes, loops
/// and opens other files. So it meets such bytes only here, where nothing is left to open or to
/// lose, and where dying is an answer.
package enum StructureService {
  static let command = "read-structure"

  /// The file to look at is standard input, the answer goes to standard output.
  static let inputDescriptor = STDIN_FILENO

  /// Call first in `main`: in a process started for that, it looks at the file and never returns.
  package static func serveIfAsked() {
    guard let path = ServantProcess.argument(for: command) else { return }
    let reply = answer(path: path)
    let encoder = JSONEncoder()
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let data = try? encoder.encode(reply) else { _exit(ExitCode.internal.rawValue) }
    ServantProcess.finish(saying: data)
  }

  private static func answer(path: String) -> StructureReply {
    do throws(Failure) {
      let place = Library.Place(file: path, object: nil)
      // The library's own preparations happen before the doors close.
      let driver = try DescriptorDriver.register(place)
      try Confinement.enter()
      let file = try File.open(descriptor: inputDescriptor, driver: driver, path: path)
      let byteCount = DescriptorDriver.byteCount(of: inputDescriptor) ?? 0
      return .structure(try StructureWalk.structure(of: file, byteCount: byteCount))
    } catch {
      return .failure(exitCode: error.exitCode.rawValue, message: error.message)
    }
  }
}
