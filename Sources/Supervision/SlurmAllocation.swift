import Core

/// Hosts and rank counts of the Slurm job this process runs in.
package enum SlurmAllocation {
  /// Nil where no variable names a job.
  ///
  /// Throws: `Failure` (.configuration) when Slurm's variables cannot be read.
  package static func hosts(in environment: [String: String]) throws(Failure) -> [JobHost]? {
    guard environment["SLURM_JOB_ID"] != nil,
      let list = environment["SLURM_JOB_NODELIST"] ?? environment["SLURM_NODELIST"]
    else { return nil }
    let names = try expand(list)
    let perNode = tasks(environment, nodes: names.count)
    guard let perNode, perNode.count == names.count, perNode.allSatisfy({ 1...65_536 ~= $0 }) else {
      throw Failure(
        .configuration,
        "SLURM_TASKS_PER_NODE '\(environment["SLURM_TASKS_PER_NODE"] ?? "")' does not fit the"
          + " \(names.count) hosts of SLURM_JOB_NODELIST; set --ntasks, or pass --host")
    }
    return zip(names, perNode).map { JobHost(name: $0, slots: $1) }
  }

  /// Tasks of the job on each of its nodes.
  private static func tasks(_ environment: [String: String], nodes: Int) -> [Int]? {
    // Inside a step, as of `srun --pty bash`, the number of tasks is the step's; the job's are as
    // many as were asked for a node, or its processors.
    if environment["SLURM_STEP_NUM_TASKS"] != nil {
      if let count = environment["SLURM_NTASKS_PER_NODE"].flatMap(Int.init) {
        return Array(repeating: count, count: nodes)
      }
      return processors(environment)
    }
    return environment["SLURM_TASKS_PER_NODE"].map { counts($0) }
      ?? environment["SLURM_NTASKS"].flatMap(Int.init).map { total in
        (0..<nodes).map { total / nodes + ($0 < total % nodes ? 1 : 0) }
      }
      ?? Array(repeating: 1, count: nodes)
  }

  /// How many tasks the processors of each node are enough for.
  private static func processors(_ environment: [String: String]) -> [Int]? {
    let each = max(1, environment["SLURM_CPUS_PER_TASK"].flatMap(Int.init) ?? 1)
    return environment["SLURM_JOB_CPUS_PER_NODE"].flatMap { counts($0) }?
      .map { max(1, $0 / each) }
  }

  /// What is worth saying of a job that has more processors than ranks: `--exclusive` alone gives
  /// whole nodes and one task each; nil where nothing is.
  package static func idleProcessors(
    _ environment: [String: String], ranks: Int
  ) -> String? {
    guard let total = processors(environment)?.reduce(0, +), total > ranks else { return nil }
    return "\(ranks) ranks on the job's \(total) processors: --ntasks-per-node or -np takes more"
  }

  /// Of a job; a list of a few bytes may name any number.
  private static let hostLimit = 65_536

  /// `2(x3),1` is 2, 2, 2, 1; nil for anything else, and for more than a job has hosts.
  static func counts(_ text: String) -> [Int]? {
    var result: [Int] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let match = word.wholeMatch(of: /([0-9]{1,6})(?:\(x([0-9]{1,6})\))?/),
        let count = Int(match.1), let times = Int(match.2 ?? "1"),
        times <= hostLimit - result.count
      else { return nil }
      result += Array(repeating: count, count: times)
    }
    return result
  }

  /// `n[01-03,7],login` is n01, n02, n03, n7, login.
  ///
  /// Throws: `Failure` (.configuration).
  static func expand(_ list: String) throws(Failure) -> [String] {
    var result: [String] = []
    for item in split(list) {
      var names = [""]
      var rest = Substring(item)
      while let open = rest.firstIndex(of: "["), let close = rest[open...].firstIndex(of: "]") {
        let prefix = rest[..<open]
        let numbers = try numbers(rest[rest.index(after: open)..<close], of: list)
        guard names.count * numbers.count <= hostLimit else { throw unreadable(list) }
        names = names.flatMap { name in numbers.map { name + prefix + $0 } }
        rest = rest[rest.index(after: close)...]
      }
      guard result.count + names.count <= hostLimit else { throw unreadable(list) }
      result += names.map { $0 + rest }
    }
    guard !result.isEmpty, result.allSatisfy(HostName.isValid) else { throw unreadable(list) }
    return result
  }

  /// At commas outside of brackets.
  private static func split(_ list: String) -> [String] {
    var result = [""]
    var depth = 0
    for character in list {
      if character == "[" { depth += 1 }
      if character == "]" { depth -= 1 }
      if character == ",", depth == 0 {
        result.append("")
      } else {
        result[result.count - 1].append(character)
      }
    }
    return result
  }

  /// `01-03,7` with the digits as they stand.
  private static func numbers(
    _ text: Substring, of list: String
  ) throws(Failure) -> [String] {
    var result: [String] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let match = word.wholeMatch(of: /([0-9]{1,9})(?:-([0-9]{1,9}))?/),
        let first = Int(match.1), let last = Int(match.2 ?? match.1), first <= last,
        last - first < hostLimit - result.count
      else { throw unreadable(list) }
      for number in first...last {
        let digits = String(number)
        let zeros = String(repeating: "0", count: max(0, match.1.count - digits.count))
        result.append(zeros + digits)
      }
    }
    return result
  }

  private static func unreadable(_ list: String) -> Failure {
    Failure(.configuration, "SLURM_JOB_NODELIST '\(list.prefix(200))' cannot be read; pass --host")
  }
}
