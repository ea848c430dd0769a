import Core
import Foundation

/// A machine of the job and how many ranks it takes.
package struct JobHost: Equatable, Hashable, Sendable {
  package let name: String
  package let slots: Int

  /// The machine the supervisor runs on.
  package static let localName = "localhost"

  package init(name: String, slots: Int) {
    precondition(slots > 0, "a host takes a rank at least")
    self.name = name
    self.slots = slots
  }

  package var isLocal: Bool { name == Self.localName || HostName.isOwn(name) }
}

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

  /// Whether two names are one machine's: the same, or one with and one without its domain.
  package static func areOne(_ a: String, _ b: String) -> Bool {
    a == b || a.hasPrefix(b + ".") && !b.contains(".") || b.hasPrefix(a + ".") && !a.contains(".")
  }

  /// A name or address that no program could take for an option or a command (RFC 1123).
  package static func isValid(_ name: String) -> Bool {
    guard 1...253 ~= name.utf8.count else { return false }
    return name.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
      1...63 ~= label.utf8.count && label.first != "-" && label.last != "-"
        && label.utf8.allSatisfy { byte in
          (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || byte == UInt8(ascii: "-")
        }
    }
  }
}

/// The machines of a job as its user names them.
package enum HostList {
  private static let slotLimit = 65_536
  private static let hostLimit = 65_536

  /// `a:2,b:2`; without a number a host takes one rank.
  ///
  /// Throws: `Failure` (.usage).
  package static func parse(_ text: String) throws(Failure) -> [JobHost] {
    var hosts: [JobHost] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = word.split(separator: ":", omittingEmptySubsequences: false)
      guard 1...2 ~= parts.count, let slots = parts.count == 1 ? 1 : Int(parts[1]) else {
        throw Failure(.usage, "--host \(text): expected a:2,b:2, found '\(word)'")
      }
      hosts.append(try host(String(parts[0]), slots, at: "--host \(text)"))
    }
    return try merged(hosts)
  }

  /// OpenMPI's hostfile: a line a host, `name` or `name slots=2`; `#` begins a comment.
  ///
  /// Throws: `Failure` (.badData) with the line's number.
  package static func parse(hostfile text: String, path: String) throws(Failure) -> [JobHost] {
    var hosts: [JobHost] = []
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      let words = line.prefix { $0 != "#" }.split(whereSeparator: \.isWhitespace)
      guard let name = words.first else { continue }
      var slots = 1
      for word in words.dropFirst() {
        let parts = word.split(separator: "=", omittingEmptySubsequences: false)
        guard parts.count == 2, ["slots", "max_slots", "max-slots"].contains(parts[0]),
          let number = Int(parts[1])
        else {
          throw Failure(
            .badData, "\(path):\(index + 1): expected 'name slots=2', found '\(line)'")
        }
        if parts[0] == "slots" { slots = number }
      }
      hosts.append(try host(String(name), slots, at: "\(path):\(index + 1)", .badData))
    }
    guard !hosts.isEmpty else { throw Failure(.badData, "\(path): names no host") }
    return try merged(hosts)
  }

  private static func host(
    _ name: String, _ slots: Int, at place: String, _ code: ExitCode = .usage
  ) throws(Failure) -> JobHost {
    guard HostName.isValid(name) else {
      throw Failure(code, "\(place): '\(name)' is no host name")
    }
    guard 1...slotLimit ~= slots else {
      throw Failure(code, "\(place): \(slots) ranks on \(name); expected 1 to \(slotLimit)")
    }
    return JobHost(name: name, slots: slots)
  }

  /// A host named twice takes what both lines say, as mpirun has it.
  private static func merged(_ hosts: [JobHost]) throws(Failure) -> [JobHost] {
    guard hosts.count <= hostLimit else { throw Failure(.usage, "more than \(hostLimit) hosts") }
    var result: [JobHost] = []
    var places: [String: Int] = [:]
    for host in hosts {
      if let place = places[host.name] {
        result[place] = JobHost(name: host.name, slots: result[place].slots + host.slots)
      } else {
        places[host.name] = result.count
        result.append(host)
      }
    }
    return result
  }
}

/// Hosts and rank counts of the Slurm job this process runs in.
package enum SlurmAllocation {
  /// Nil outside of a job.
  ///
  /// Throws: `Failure` (.configuration) when Slurm's variables cannot be read.
  package static func hosts(in environment: [String: String]) throws(Failure) -> [JobHost]? {
    guard environment["SLURM_JOB_ID"] != nil,
      let list = environment["SLURM_JOB_NODELIST"] ?? environment["SLURM_NODELIST"]
    else { return nil }
    let names = try expand(list)
    let perNode =
      environment["SLURM_TASKS_PER_NODE"].map { counts($0) }
      ?? environment["SLURM_NTASKS"].flatMap(Int.init).map { total in
        names.indices.map { total / names.count + ($0 < total % names.count ? 1 : 0) }
      }
      ?? names.map { _ in 1 }
    guard let perNode, perNode.count == names.count, perNode.allSatisfy({ 1...65_536 ~= $0 }) else {
      throw Failure(
        .configuration,
        "SLURM_TASKS_PER_NODE '\(environment["SLURM_TASKS_PER_NODE"] ?? "")' does not fit the"
          + " \(names.count) hosts of SLURM_JOB_NODELIST; set --ntasks, or pass --host")
    }
    return zip(names, perNode).map { JobHost(name: $0, slots: $1) }
  }

  /// `2(x3),1` is 2, 2, 2, 1; nil for anything else.
  static func counts(_ text: String) -> [Int]? {
    var result: [Int] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let match = word.wholeMatch(of: /([0-9]{1,6})(?:\(x([0-9]{1,6})\))?/),
        let count = Int(match.1), let times = Int(match.2 ?? "1")
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
        names = names.flatMap { name in numbers.map { name + prefix + $0 } }
        guard names.count <= 65_536 else { throw unreadable(list) }
        rest = rest[rest.index(after: close)...]
      }
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
        last - first < 65_536
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
    Failure(.configuration, "SLURM_JOB_NODELIST '\(list)' cannot be read; pass --host")
  }
}
