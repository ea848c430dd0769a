import Foundation

/// The processes that this machine's kernel has ended for lack of memory. To the parent of such a
/// process its end is a SIGKILL like any other.
package enum MemoryKills {
  /// How many since the machine began; nil where the kernel does not say.
  static func count() -> Int? {
    (try? String(contentsOfFile: "/proc/vmstat", encoding: .utf8)).flatMap(count(in:))
  }

  /// - Parameter statistics: a text like /proc/vmstat.
  package static func count(in statistics: String) -> Int? {
    let name = "oom_kill "
    return statistics.split(separator: "\n").first { $0.hasPrefix(name) }
      .flatMap { Int($0.dropFirst(name.count)) }
  }
}
