import Foundation

/// Names of machines.
package enum HostName {
  /// This machine's, without asking a name server.
  package static let current: String = {
    var name = [CChar](repeating: 0, count: 256)
    guard gethostname(&name, name.count - 1) == 0 else { return "unknown" }
    return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }()

  /// Of its interfaces, as numbers.
  private static let ownAddresses: Set<String> = {
    var first: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&first) == 0 else { return [] }
    defer { freeifaddrs(first) }
    var addresses: Set<String> = []
    for entry in sequence(first: first, next: { $0?.pointee.ifa_next }) {
      guard let address = entry?.pointee.ifa_addr, address.pointee.sa_family == AF_INET else {
        continue
      }
      var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
      let size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let flags = Int32(NI_NUMERICHOST)
      guard getnameinfo(address, size, &text, socklen_t(text.count), nil, 0, flags) == 0 else {
        continue
      }
      addresses.insert(
        String(decoding: text.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self))
    }
    return addresses
  }()

  /// Whether a name or address is this machine's, without asking a name server.
  package static func isOwn(_ name: String) -> Bool {
    areOne(name, current) || ownAddresses.contains(name)
  }

  /// Whether two names are one machine's: the same in any case, or one with and one without its
  /// domain.
  package static func areOne(_ one: String, _ other: String) -> Bool {
    let (a, b) = (one.lowercased(), other.lowercased())
    return a == b || a.hasPrefix(b + ".") && !b.contains(".")
      || b.hasPrefix(a + ".") && !a.contains(".")
  }

  /// A name or address that no program could take for an option or a command: RFC 1123, and the
  /// underscore, which some sites' names have.
  package static func isValid(_ name: String) -> Bool {
    guard 1...253 ~= name.utf8.count else { return false }
    return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
      1...63 ~= label.utf8.count && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy { byte in
          (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "-_".utf8.contains(byte)
        }
    }
  }
}
