import Foundation
import Testing

/// What the kernel says of the memory of one rank, in bytes.
struct ResidentMemory {
  let rank: Int
  /// Of `smaps_rollup`: Rss, Pss, Pss_Anon, Pss_Shmem, Pss_File.
  private let sums: [String: Int]
  /// The largest resident set so far.
  private let peak: Int
  /// Of each mapping of memory that ranks share: its extent and this rank's share of what of it is
  /// resident.
  let shared: [(size: Int, share: Int)]

  init(of pid: Int32) throws {
    let environment = try Self.text(pid, "environ").split(separator: "\0")
    let rankName = "OMPI_COMM_WORLD_RANK="
    rank =
      environment.first { $0.hasPrefix(rankName) }.flatMap { Int($0.dropFirst(rankName.count)) }
      ?? 0
    sums = Self.fields(try Self.text(pid, "smaps_rollup").split(separator: "\n")[...])
    let status = try Self.text(pid, "status").split(separator: "\n")
    peak = try #require(Self.fields(status[...])["VmHWM"])
    let mappings = Self.mappings(try Self.text(pid, "smaps"))
    shared = mappings.filter { $0.name.contains("/dev/shm/osc_sm") }
      .map { ($0.fields["Size"] ?? 0, $0.fields["Pss"] ?? 0) }
  }

  /// The share of what is resident: shared pages are divided by those that use them.
  var share: Int { sums["Pss"] ?? 0 }
  var privateBytes: Int { sums["Pss_Anon"] ?? 0 }
  /// The largest resident set, shared pages divided by those that use them.
  var peakShare: Int { peak - (sums["Rss"] ?? 0) + share }
  var peakResident: Int { peak }

  private static func text(_ pid: Int32, _ file: String) throws -> String {
    // Its size is unknown before it is read.
    let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/proc/\(pid)/\(file)"))
    return String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self)
  }

  /// Lines like `Pss:   123 kB`.
  private static func fields(_ lines: ArraySlice<Substring>) -> [String: Int] {
    var result: [String: Int] = [:]
    for line in lines {
      let words = line.split { $0 == " " || $0 == "\t" }
      guard words.count == 3, words[2] == "kB", let value = Int(words[1]) else { continue }
      result[String(words[0].dropLast()), default: 0] += value * 1024
    }
    return result
  }

  private static func mappings(_ text: String) -> [(name: String, fields: [String: Int])] {
    let lines = text.split(separator: "\n")
    let starts = lines.indices.filter { index in
      lines[index].prefix { $0 != " " }.contains("-")
    }
    return zip(starts, starts.dropFirst() + [lines.count]).map { start, end in
      (String(lines[start]), fields(lines[start + 1..<end]))
    }
  }
}
