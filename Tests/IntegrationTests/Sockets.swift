import Foundation
import Testing

/// Sockets of processes, as the kernel lists them.
enum Sockets {
  /// On which a process waits for whoever comes: `tcp 0100007F:A3F1`, `unix /tmp/name`.
  static func listening(of process: Int32) throws -> [String] {
    let folder = "/proc/\(process)/fd"
    let links = try FileManager.default.contentsOfDirectory(atPath: folder).compactMap {
      try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\($0)")
    }
    let own = Set(links.filter { $0.hasPrefix("socket:[") }.map { $0.dropFirst(8).dropLast() })
    return try ["tcp", "tcp6", "udp", "udp6", "unix"].flatMap { kind in
      try table(kind, of: process).filter { own.contains($0.inode) }.map { "\(kind) \($0.name)" }
    }.sorted()
  }

  /// Of every kind; 0 of a process that is gone.
  static func count(of process: Int32) -> Int {
    let folder = "/proc/\(process)/fd"
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    return names.count { name in
      let link = try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")
      return link?.hasPrefix("socket:[") == true
    }
  }

  private static func table(
    _ kind: String, of process: Int32
  ) throws -> [(inode: Substring, name: Substring)] {
    let text = try String(contentsOfFile: "/proc/\(process)/net/\(kind)", encoding: .utf8)
    return text.split(separator: "\n").dropFirst().compactMap { line in
      let words = line.split(separator: " ")
      guard words.count >= 7 else { return nil }
      if kind == "unix" {
        // Flags: 0x10000 is a socket that accepts connections.
        guard UInt64(words[3], radix: 16).map({ $0 & 0x10000 != 0 }) == true else { return nil }
        return (words[6], words.count > 7 ? words[7] : "unnamed")
      }
      // State 0A is LISTEN; of UDP every socket that is bound counts.
      guard words.count > 9, kind.hasPrefix("udp") || words[3] == "0A" else { return nil }
      return (words[9], words[1])
    }
  }
}
