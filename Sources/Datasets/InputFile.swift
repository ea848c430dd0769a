import Core
import Foundation

/// Whole files that a person named or a prepared folder must hold.
enum InputFile {
  /// Throws: `Failure` (.missingInput when there is no such file, .inputOutput when it cannot be
  /// read).
  static func bytes(of path: String) throws(Failure) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw FileSystem.failure(
        errno == ENOENT || errno == ENOTDIR ? .missingInput : .inputOutput, "open", path)
    }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw FileSystem.failure(.inputOutput, "read", path)
    }
    guard status.st_mode & S_IFMT != S_IFDIR else {
      throw Failure(.missingInput, "\(path): expected a file, found a folder")
    }
    return try rest(of: descriptor, expectedCount: Int(status.st_size), path: path)
  }

  /// Reads to the end, also from a pipe, whose size is not known.
  static func rest(
    of descriptor: Int32, expectedCount: Int = 0, path: String
  ) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(expectedCount)
    var block = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      let count = block.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
      if count == 0 { return bytes }
      if count < 0 {
        if errno == EINTR { continue }
        throw FileSystem.failure(.inputOutput, "read", path)
      }
      bytes.append(contentsOf: block[..<count])
    }
  }
}
