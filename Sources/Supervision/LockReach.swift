import Core
import Foundation

/// Whether a lock on a file keeps out processes of other hosts, as far as the file system says.
package enum LockReach {
  /// Only processes of this machine see these, unless it exports them: its own locks and those of
  /// NFS's clients do not keep each other out (flock(2)).
  private static let local: Set<String> = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "ramfs", "overlay",
  ]
  /// Their locks are the cluster's.
  private static let shared: Set<String> = ["gpfs", "ceph", "gfs2", "ocfs2"]

  /// Of the file system a file is on; false where that cannot be told.
  static func isWhole(of path: String) -> Bool {
    guard let real = realpath(path, nil) else { return false }
    defer { free(real) }
    func text(_ file: String) -> String {
      (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
    }
    return isWhole(
      of: String(cString: real), mounts: text("/proc/self/mountinfo"),
      exports: text("/var/lib/nfs/etab"))
  }

  /// - Parameters:
  ///   - mounts: a text like /proc/self/mountinfo (proc(5)):
  ///     `36 35 98:0 / /mnt rw,noatime master:1 - ext3 /dev/root rw,errors=continue`.
  ///   - exports: a text like /var/lib/nfs/etab (exportfs(8)): `/home 10.0.0.0/24(rw,sync)`.
  package static func isWhole(of path: String, mounts: String, exports: String) -> Bool {
    var best: (length: Int, type: String, options: String)?
    for line in mounts.filledLines {
      let halves = line.split(separator: " - ", maxSplits: 1)
      guard halves.count == 2 else { continue }
      let (place, kind) = (halves[0].split(separator: " "), halves[1].split(separator: " "))
      guard place.count > 5, kind.count > 2 else { continue }
      // A blank in a name stands as its octal number.
      let point = place[4].replacing("\\040", with: " ")
      guard isBelow(String(point), path) else { continue }
      // The last of several on one place is the one that is seen.
      if point.count >= best?.length ?? 0 {
        best = (point.count, String(kind[0]), "\(place[5]),\(kind[2])")
      }
    }
    guard let best else { return false }
    if local.contains(best.type) {
      return !exports.filledLines.contains { line in
        line.split(whereSeparator: \.isWhitespace).first.map { isBelow(String($0), path) } ?? false
      }
    }
    return isWhole(type: best.type, options: best.options.split(separator: ",").map(String.init))
  }

  private static func isBelow(_ folder: String, _ path: String) -> Bool {
    path == folder || path.hasPrefix(folder == "/" ? "/" : folder + "/")
  }

  private static func isWhole(type: String, options: [String]) -> Bool {
    switch type {
    case "nfs", "nfs4":
      let isKeptHere = ["nolock", "local_lock=flock", "local_lock=all"]
        .contains(where: options.contains)
      return !isKeptHere
    case "lustre": return options.contains("flock")
    default: return shared.contains(type) && !options.contains("localflocks")
    }
  }
}
