import Foundation

/// Sizes in pages of memory.
enum Pages {
  static let byteCount = sysconf(Int32(_SC_PAGESIZE))

  static func roundUp(_ bytes: Int) -> Int { (bytes + byteCount - 1) / byteCount * byteCount }
}
