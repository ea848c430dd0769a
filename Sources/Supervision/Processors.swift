import Core
import Foundation

/// What this machine and this process may compute on.
package enum Processors {
  /// Processors this process may use.
  package static var usable: Int { max(1, allowed.count) }

  /// Cores among them: hardware threads of one core count once, as mpirun counts slots.
  package static var cores: Int {
    var seen: Set<String> = []
    for number in allowed {
      let path = "/sys/devices/system/cpu/cpu\(number)/topology/thread_siblings_list"
      let siblings = try? String(contentsOfFile: path, encoding: .utf8)
      seen.insert(siblings ?? "\(number)")
    }
    return max(1, seen.count)
  }

  private static var allowed: [Int] {
    let status = (try? String(contentsOfFile: "/proc/self/status", encoding: .utf8)) ?? ""
    let line = status.filledLines.first { $0.hasPrefix("Cpus_allowed_list:") }
    let list = line?.split(whereSeparator: \.isWhitespace).last ?? "0"
    return list.split(separator: ",").flatMap { range -> [Int] in
      let ends = range.split(separator: "-").compactMap { Int($0) }
      guard let first = ends.first, let last = ends.last, first <= last else { return [] }
      return Array(first...last)
    }
  }
}
