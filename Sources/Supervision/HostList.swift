import Core
import Foundation

/// The machines of a job as somebody has listed them.
package enum HostList {
  /// A machine whose number of ranks may have been left to itself.
  package struct Entry: Equatable, Sendable {
    package var name: String
    /// Nil means as many as it has cores.
    package var slots: Int?
    package var login: String?
    /// Where it stands, for what is wrong with it.
    package var place: String

    package init(name: String, slots: Int?, login: String? = nil, place: String) {
      self.name = name
      self.slots = slots
      self.login = login
      self.place = place
    }
  }

  static let slotLimit = 65_536
  private static let hostLimit = 65_536

  /// `a:2,b:2`; without a number a host takes one rank.
  ///
  /// Throws: `Failure` (.usage).
  package static func parse(_ text: String) throws(Failure) -> [Entry] {
    var entries: [Entry] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = word.split(separator: ":", omittingEmptySubsequences: false)
      guard 1...2 ~= parts.count, let slots = parts.count == 1 ? 1 : Int(parts[1]) else {
        throw Failure(.usage, "--host \(text): expected a:2,b:2, found '\(word)'")
      }
      entries.append(try entry(String(parts[0]), slots, at: "--host \(text)", .usage))
    }
    return try merged(entries)
  }

  /// OpenMPI's hostfile: a line a host, `name`, `user@name` or `name slots=2 max_slots=4`, with
  /// blanks around `=` or without; `#` begins a comment. A host that stands on several lines
  /// without a number takes a rank a line, on one line as many as it has cores.
  ///
  /// Throws: `Failure` (.badData) with the line's number.
  package static func parse(hostfile bytes: [UInt8], path: String) throws(Failure) -> [Entry] {
    var entries: [Entry] = []
    for (place, words) in try lines(of: bytes, path: path) {
      guard let first = words.first, !first.hasPrefix("+"), !first.hasPrefix("^") else {
        throw Failure(
          .badData,
          "\(place): '\(words[0])' counts or leaves out hosts of a list that is not known here;"
            + " name the hosts")
      }
      entries.append(try entry(words, at: place))
    }
    guard !entries.isEmpty else { throw Failure(.badData, "\(path): names no host") }
    return try merged(entries)
  }

  /// The node file of PBS and Torque: a line a rank.
  ///
  /// Throws: `Failure` (.badData) with the line's number.
  package static func parse(nodefile bytes: [UInt8], path: String) throws(Failure) -> [Entry] {
    var entries: [Entry] = []
    for (place, words) in try lines(of: bytes, path: path) {
      guard words.count == 1 else {
        throw Failure(.badData, "\(place): expected one name, found '\(words[1])' behind it")
      }
      entries.append(try entry(words[0], 1, at: place, .badData))
    }
    guard !entries.isEmpty else { throw Failure(.badData, "\(path): names no host") }
    return try merged(entries)
  }

  /// Grid Engine's host file: `name slots queue processors` on each line.
  ///
  /// Throws: `Failure` (.badData) with the line's number.
  package static func parse(gridEngine bytes: [UInt8], path: String) throws(Failure) -> [Entry] {
    var entries: [Entry] = []
    for (place, words) in try lines(of: bytes, path: path) {
      guard words.count >= 2, let slots = Int(words[1]) else {
        throw Failure(.badData, "\(place): expected 'name slots queue processors'")
      }
      entries.append(try entry(words[0], slots, at: place, .badData))
    }
    guard !entries.isEmpty else { throw Failure(.badData, "\(path): names no host") }
    return try merged(entries)
  }

  /// The words of each line that has some, without its comment.
  private static func lines(
    of bytes: [UInt8], path: String
  ) throws(Failure) -> [(place: String, words: [String])] {
    // Bytes and not characters: to Swift a carriage return and a line feed are one of these.
    let lines = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    var result: [(String, [String])] = []
    for (index, line) in lines.enumerated() {
      let place = "\(path):\(index + 1)"
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      guard !line.contains(UInt8(ascii: "\r")) else {
        throw Failure(.badData, "\(place): lines end with a carriage return alone")
      }
      let text = String(decoding: line.prefix { $0 != UInt8(ascii: "#") }, as: UTF8.self)
      let words = words(of: text)
      if !words.isEmpty { result.append((place, words)) }
    }
    return result
  }

  /// What stands between blanks; those around `=` do not count. Takes time with the length alone.
  private static func words(of text: String) -> [String] {
    var words: [String] = []
    for word in text.split(whereSeparator: \.isWhitespace) {
      let belongsToLast = words.last.map { $0.last == "=" || word.first == "=" } ?? false
      if belongsToLast { words[words.count - 1] += word } else { words.append(String(word)) }
    }
    return words
  }

  /// `user@name slots=2 max_slots=4`.
  private static func entry(_ words: [String], at place: String) throws(Failure) -> Entry {
    var (slots, most, login): (Int?, Int?, String?) = (nil, nil, nil)
    for word in words.dropFirst() {
      let parts = word.split(separator: "=", omittingEmptySubsequences: false).map(String.init)
      let number = parts.count == 2 ? Int(parts[1]) : nil
      switch (parts[0], number) {
      case ("slots", let count?), ("cpus", let count?), ("count", let count?): slots = count
      case ("max_slots", let count?), ("max-slots", let count?): most = count
      case ("user", nil) where parts.count == 2, ("username", nil) where parts.count == 2:
        login = parts[1]
      default:
        throw Failure(
          .badData, "\(place): expected 'name slots=2', found '\(words.joined(separator: " "))'")
      }
    }
    if let slots, let most, slots > most {
      throw Failure(.badData, "\(place): slots=\(slots) is more than max_slots=\(most)")
    }
    var result = try entry(words[0], slots ?? most, at: place, .badData)
    if let login { result.login = try valid(login, at: place, .badData) }
    return result
  }

  /// - Parameter address: `name` or `user@name`.
  private static func entry(
    _ address: String, _ slots: Int?, at place: String, _ code: ExitCode
  ) throws(Failure) -> Entry {
    let parts = address.split(separator: "@", omittingEmptySubsequences: false).map(String.init)
    guard parts.count <= 2, HostName.isValid(parts[parts.count - 1]) else {
      throw Failure(code, "\(place): '\(address)' is no host name")
    }
    let login = parts.count == 2 ? try valid(parts[0], at: place, code) : nil
    let name = parts[parts.count - 1]
    guard 1...slotLimit ~= slots ?? 1 else {
      throw Failure(
        code, "\(place): \(slots ?? 0) ranks on \(name); expected 1 to \(slotLimit)")
    }
    return Entry(name: name, slots: slots, login: login, place: place)
  }

  private static func valid(
    _ login: String, at place: String, _ code: ExitCode
  ) throws(Failure) -> String {
    guard login.wholeMatch(of: #/[A-Za-z_][A-Za-z0-9_.\-]{0,63}/#) != nil else {
      throw Failure(code, "\(place): '\(login)' is no user name")
    }
    return login
  }

  /// A host named twice takes what both lines say, as mpirun has it; so does this one, by any of
  /// its names.
  private static func merged(_ entries: [Entry]) throws(Failure) -> [Entry] {
    guard entries.count <= hostLimit * 16 else {
      throw Failure(.usage, "more than \(hostLimit * 16) lines of hosts")
    }
    var result: [Entry] = []
    var places: [String: Int] = [:]
    // A node file has a line for each rank, and whether a name is this machine's takes its time.
    var names: [String: String] = [:]
    for entry in entries {
      let name =
        names[entry.name]
        ?? (JobHost.isLocal(entry.name) ? JobHost.localName : entry.name.lowercased())
      names[entry.name] = name
      if let place = places[name] {
        result[place].slots = (result[place].slots ?? 1) + (entry.slots ?? 1)
      } else {
        places[name] = result.count
        result.append(entry)
      }
    }
    guard result.count <= hostLimit else { throw Failure(.usage, "more than \(hostLimit) hosts") }
    return result
  }
}
