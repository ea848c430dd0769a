import Core
import Foundation

/// The processes that the kernel has ended for lack of memory. To the parent of such a process its
/// end is a SIGKILL like any other.
enum MemoryKills {
  /// How many of this job, since its control group was made; of the whole machine only where memory
  /// is not grouped. nil where the kernel does not say.
  static func count() -> Int? {
    if let own = MemoryGroup.own()?.killCount { return own }
    let statistics = try? String(contentsOfFile: "/proc/vmstat", encoding: .utf8)
    return statistics.flatMap(MemoryGroup.kills(in:))
  }
}
