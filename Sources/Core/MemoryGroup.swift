import Foundation

/// The kernel's control group that limits and counts the memory of this process, where the job's
/// scheduler, a container or systemd has made one.
package struct MemoryGroup: Equatable, Sendable {
  private enum Version: Sendable { case one, two }

  private let version: Version
  /// Folders of the group and of those it is in: its own first, then upwards.
  package let folders: [String]

  /// - Parameters:
  ///   - membership: a text like /proc/self/cgroup.
  ///   - mounts: a text like /proc/self/mountinfo.
  package init?(membership: String, mounts: String) {
    let lines = membership.filledLines.map {
      $0.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
    }
    let own = lines.filter { $0.count == 3 }
    // The memory controller is of one version or the other.
    let first = own.first { $0[1].split(separator: ",").contains("memory") }
    guard let line = first ?? own.first(where: { $0[0] == "0" && $0[1].isEmpty }) else {
      return nil
    }
    version = first == nil ? .two : .one
    guard let mount = Self.mount(of: version, in: mounts) else { return nil }
    let path = String(line[2])
    // What a container sees as its root need not be the root.
    let root = mount.root == "/" ? "" : mount.root
    let isBelow = (path == root || path.hasPrefix(root + "/")) && !path.contains("/..")
    let names = isBelow ? path.dropFirst(root.count).split(separator: "/") : []
    folders = (0...names.count).reversed().map { count in
      ([mount.point] + names.prefix(count).map(String.init)).joined(separator: "/")
    }
  }

  /// The group of this process; nil where memory is not grouped.
  package static func own() -> MemoryGroup? {
    guard let membership = text(of: "/proc/self/cgroup"),
      let mounts = text(of: "/proc/self/mountinfo")
    else { return nil }
    return MemoryGroup(membership: membership, mounts: mounts)
  }

  private static func mount(
    of version: Version, in mounts: String
  ) -> (root: String, point: String)? {
    for line in mounts.filledLines {
      guard let dash = line.firstRange(of: " - ") else { continue }
      let (left, right) = (
        line[..<dash.lowerBound].split(separator: " "),
        line[dash.upperBound...].split(separator: " ")
      )
      guard left.count >= 5, right.count >= 3 else { continue }
      let isIt =
        version == .two
        ? right[0] == "cgroup2"
        : right[0] == "cgroup" && right[2].split(separator: ",").contains("memory")
      if isIt { return (String(left[3]), String(left[4])) }
    }
    return nil
  }

  /// The smallest limit of the group and of those it is in, in bytes; nil where there is none.
  package var byteLimit: Int? {
    let name = version == .two ? "memory.max" : "memory.limit_in_bytes"
    return folders.compactMap { folder in
      // "max" is none.
      Self.text(of: "\(folder)/\(name)").flatMap {
        Int($0.trimmingCharacters(in: .whitespacesAndNewlines))
      }
    }.min()
  }

  /// How many processes of the job the kernel has ended for lack of memory since the group was
  /// made; nil where it does not say.
  ///
  /// Slurm puts the script of a job, and with it a supervisor, into another group than the job's
  /// steps: both are below the job's. Version 2 counts what happened below; version 1 does not, and
  /// the counts of its groups are added up. Those that went away are not in the sum, so that a step
  /// which is over may be missed, but nothing is counted that did not happen.
  package var killCount: Int? {
    let job = folders.firstIndex { folder in
      folder.split(separator: "/").last?.wholeMatch(of: #/job_[0-9]+/#) != nil
    }
    switch version {
    case .two:
      // A controller may be off for the lowest groups.
      return folders[(job ?? 0)...].lazy.compactMap { folder in
        Self.text(of: folder + "/memory.events").flatMap(Self.kills(in:))
      }.first
    case .one:
      let groups = job.map { Self.groups(below: folders[$0]) } ?? [folders[0]]
      let counts = groups.compactMap { group in
        Self.text(of: group + "/memory.oom_control").flatMap(Self.kills(in:))
      }
      return counts.isEmpty ? nil : counts.reduce(0, +)
    }
  }

  /// The number after `oom_kill` in a text like memory.events, memory.oom_control or /proc/vmstat.
  package static func kills(in statistics: String) -> Int? {
    let name = "oom_kill "
    return statistics.filledLines.first { $0.hasPrefix(name) }
      .flatMap { Int($0.dropFirst(name.count)) }
  }

  private static func groups(below folder: String) -> [String] {
    let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
    let below = names.map { "\(folder)/\($0)" }.filter { path in
      var status = stat()
      return lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }
    return [folder] + below.flatMap(groups(below:))
  }

  private static func text(of path: String) -> String? {
    try? String(contentsOfFile: path, encoding: .utf8)
  }
}

/// How much memory the processes of this job may take on this machine together, and who says so.
package struct MemoryLimit: Equatable, Sendable {
  package enum Owner: Hashable, Sendable {
    /// Its scheduler's or container's limit.
    case job
    /// All the machine has.
    case machine

    package var text: String {
      switch self {
      case .job: "the job's memory limit"
      case .machine: "this machine's memory"
      }
    }

    /// What happened when there was no more.
    package var spentText: String { text + (self == .job ? " was reached" : " ran out") }
  }

  package var byteCount: Int
  package var owner: Owner

  package init(byteCount: Int, owner: Owner) {
    self.byteCount = byteCount
    self.owner = owner
  }

  /// - Parameters:
  ///   - group: the limit of the control group; one above all the machine has is none.
  ///   - statistics: a text like /proc/meminfo.
  package init?(group: Int?, statistics: String) {
    let total = statistics.filledLines.first { $0.hasPrefix("MemTotal:") }
      .flatMap { $0.split(separator: " ").dropFirst().first.flatMap { Int($0) } }
      .map { $0.multipliedReportingOverflow(by: 1024) }
      .flatMap { $0.overflow ? nil : $0.partialValue }
    if let group, group < total ?? 1 << 50 {
      self.init(byteCount: group, owner: .job)
    } else if let total {
      self.init(byteCount: total, owner: .machine)
    } else {
      return nil
    }
  }

  /// That of this process; nil where the kernel does not say.
  package static func own() -> MemoryLimit? {
    let statistics = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8)
    return MemoryLimit(group: MemoryGroup.own()?.byteLimit, statistics: statistics ?? "")
  }
}
