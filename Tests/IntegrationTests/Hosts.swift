import Foundation
import Testing

/// Hosts of `Tests/Cluster/cluster` with a supervisor on the first of them; they last as long as
/// its program runs, and go with the value.
final class Hosts {
  private static let script = Program.repository + "/Tests/Cluster/cluster"
  /// Ranks of each: 2,1.
  let layout: String
  private let options: [String]
  private let isOfOpenMPI5: Bool
  private let name = "lockstep-it-\(UUID().uuidString)"
  private let scratch: Scratch

  /// - Parameters:
  ///   - rate: what a link carries in each direction, as tc says it; nil for all it can.
  ///   - openMPI5: whether they have OpenMPI 5, whatever this machine has.
  init(_ layout: String, rate: String? = nil, openMPI5: Bool = false, in scratch: Scratch) {
    self.layout = layout
    self.scratch = scratch
    isOfOpenMPI5 = openMPI5
    options = ["--name", name, "--on-first-host"] + (rate.map { ["--rate", $0] } ?? [])
  }

  deinit {
    scratch.kill()
    // The script's to do, unless it was killed.
    for part in ["bridge"] + layout.split(separator: ",").indices.map(String.init) {
      let namespace = "\(name)-\(part)"
      guard FileManager.default.fileExists(atPath: "/run/netns/" + namespace) else { continue }
      try? Self.must(["ip", "netns", "delete", namespace], in: scratch)
    }
  }

  /// What a cluster with nothing to do ends with: 77 where namespaces are not permitted.
  static let isPermitted: Bool = {
    guard let scratch = try? Scratch(),
      let outcome = try? Hosts("1", in: scratch).start(["true"]).outcome()
    else { return true }
    FileHandle.standardError.write(Data(outcome.error.utf8))
    return outcome.exitCode != 77
  }()

  /// Runs a program on the first host.
  func start(_ command: [String], environment: [String: String] = [:]) throws -> Job {
    let userland =
      isOfOpenMPI5
      ? [OpenMPI5.script, "--libraries-of", try #require(Program.path)] : []
    let cluster = userland + [Self.script] + options + [layout, "--"]
    // Two cores have to do for all hosts.
    let yielding = ["OMPI_MCA_mpi_yield_when_idle": "1"].merging(environment) { $1 }
    return try Job(cluster + command, environment: yielding, in: scratch)
  }

  /// `--host` for all of them, by address or by name.
  func list(byName: Bool = false) -> String {
    layout.split(separator: ",").enumerated().map { index, ranks in
      (byName ? "host\(index)" : Self.address(of: index)) + ":\(ranks)"
    }.joined(separator: ",")
  }

  static func address(of host: Int) -> String { "10.77.0.\(10 + host)" }

  // MARK: - Faults

  func cutLink(of host: Int) throws { try setLink(of: host, "down") }
  func mendLink(of host: Int) throws { try setLink(of: host, "up") }

  /// What a link carries.
  enum Direction: CaseIterable {
    case toHost, fromHost
  }

  /// The link loses all that goes in one direction, and says nothing.
  func lose(_ direction: Direction, of host: Int) throws {
    let end =
      switch direction {
      case .toHost: ["\(name)-bridge", "link\(host)"]
      case .fromHost: ["\(name)-\(host)", "e0"]
      }
    try Self.must(
      ["tc", "-n", end[0], "qdisc", "replace", "dev", end[1], "root", "blackhole"], in: scratch)
  }

  /// Takes a folder away from a host, as when its file server is gone.
  func hide(_ folder: String, from process: Int32) throws {
    try Self.must(
      ["nsenter", "--target", "\(process)", "--mount", "mount", "-t", "tmpfs", "none", folder],
      in: scratch)
  }

  private func setLink(of host: Int, _ state: String) throws {
    try Self.must(
      ["ip", "-n", "\(name)-bridge", "link", "set", "link\(host)", state], in: scratch)
  }

  /// As the host's own network has it; its first process and what started that are not of a run.
  func processes(on host: Int) throws -> [Int32] {
    var place = stat()
    try #require(stat("/run/netns/\(name)-\(host)", &place) == 0, "there is no host\(host)")
    return scratch.processes.filter { process in
      let link = try? FileManager.default.destinationOfSymbolicLink(
        atPath: "/proc/\(process)/ns/net")
      guard link == "net:[\(place.st_ino)]" else { return false }
      let words = Scratch.commandLine(of: process).split(separator: "\0")
      return words.first != "unshare" && words.dropFirst().first?.hasSuffix("/host") != true
    }
  }

  private static func must(_ command: [String], in scratch: Scratch) throws {
    let outcome = try Job(command, in: scratch).outcome()
    try #require(outcome.exitCode == 0, "\(command): \(outcome.error)")
  }
}
