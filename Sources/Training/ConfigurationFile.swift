import Core
import Foundation
import Synchronization

/// The bytes of configuration files, as a person names them.
enum ConfigurationFile {
  /// What pipes have given, by path: they give it once, and a process looks twice.
  private static let ofPipes = Mutex<[String: [UInt8]]>([:])

  /// Throws: `Failure` (.missingInput, .inputOutput).
  static func bytes(of path: String) throws(Failure) -> [UInt8] {
    guard FileSystem.exists(path) else {
      throw FileSystem.absence(of: path, "no such configuration file")
    }
    if let known = ofPipes.withLock({ $0[path] }) { return known }
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw FileSystem.failure(.inputOutput, "read", path) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    // One byte over the limit is enough to refuse; a device or a huge file is never read whole.
    while bytes.count <= ConfigurationDocument.byteLimit {
      let count = read(descriptor, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw FileSystem.failure(.inputOutput, "read", path) }
      if count == 0 { break }
      bytes += buffer[..<count]
    }
    if FileSystem.kind(of: path, followsLinks: true) != .regularFile {
      ofPipes.withLock { $0[path] = bytes }
    }
    return bytes
  }
}
