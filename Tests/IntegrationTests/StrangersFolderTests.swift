import Core
import Foundation
import Testing

/// A run directory that somebody else has filled: nothing in it leads out of it, or makes anybody
/// wait.
@Suite(.serialized) struct StrangersFolderTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  enum Trap: String, CaseIterable, Sendable { case link, pipe, secondName }

  static let filesOfRanks = ["lock", "events.jsonl", "incarnation", "logs/rank-00000.log"]
  static let filesOfTheSupervisor = ["supervisor.lock", "logs/mpirun.log"]

  private func expectRefusal(_ trap: Trap, at name: String, _ launch: Program.Launch) throws {
    let folder = "\(trap)-\(name.replacing("/", with: "-"))"
    let run = try TinyRun(steps: 5, name: folder, in: scratch)
    let victim = try scratch.file("victim", "precious")
    let file = run.path + "/" + name
    try FileSystem.createFolder(FileSystem.parent(of: file))
    let made =
      switch trap {
      case .link: symlink(victim, file)
      case .pipe: mkfifo(file, 0o600)
      case .secondName: link(victim, file)
      }
    try #require(made == 0)
    let outcome = try run.train(launch)
    #expect(outcome.exitCode == ExitCode.badData.rawValue, "\(name): \(outcome.error)")
    #expect(outcome.error.contains("/\(name): "), "\(outcome.error)")
    #expect(try String(contentsOfFile: victim, encoding: .utf8) == "precious", "\(name)")
    #expect(run.savedSteps == [])
  }

  @Test(arguments: Trap.allCases, filesOfRanks)
  func aTrapInThePlaceOfAFileIsRefused(trap: Trap, name: String) throws {
    // What is only read may have a second name.
    if name == "incarnation", trap == .secondName { return }
    try expectRefusal(trap, at: name, .alone)
  }

  @Test(arguments: Trap.allCases, filesOfTheSupervisor + ["events.jsonl", "lock"])
  func aTrapForTheSupervisorIsRefused(trap: Trap, name: String) throws {
    try expectRefusal(trap, at: name, .supervised(2))
  }

  @Test func aTrapForAnotherRankIsRefused() throws {
    for trap in Trap.allCases { try expectRefusal(trap, at: "logs/rank-00001.log", .mpirun(2)) }
  }

  @Test(arguments: ["logs", "checkpoints"], [Program.Launch.alone, .supervised(2)])
  func aLinkInThePlaceOfAFolderIsRefused(name: String, launch: Program.Launch) throws {
    let run = try TinyRun(steps: 5, in: scratch)
    let victim = scratch.path + "/victim"
    try FileSystem.createFolder(victim)
    try FileSystem.createFolder(run.path)
    try #require(symlink(victim, run.path + "/" + name) == 0)
    let outcome = try run.train(launch)
    outcome.expectRefusal(.badData, naming: ["/\(name): is a link"])
    #expect(try FileSystem.isEmpty(victim))
  }

  /// The lease is written anew, whatever is in its place, and read without waiting.
  @Test func aTrapInThePlaceOfTheLeaseIsReplaced() throws {
    for trap in [Trap.link, .pipe] {
      let run = try TinyRun(steps: 5, name: trap.rawValue, in: scratch)
      let victim = try scratch.file("victim", "precious")
      try FileSystem.createFolder(run.path)
      let lease = run.path + "/supervisor.lease"
      try #require((trap == .link ? symlink(victim, lease) : mkfifo(lease, 0o600)) == 0)
      try run.finish(.supervised(2))
      #expect(try String(contentsOfFile: victim, encoding: .utf8) == "precious")
    }
  }

  @Test func aRunDirectoryIsReachedThroughALink() throws {
    try FileSystem.createFolder(scratch.path + "/real")
    try #require(symlink("real", scratch.path + "/run") == 0)
    try TinyRun(steps: 5, in: scratch).finish(.supervised(2))
    #expect(try TinyRun(name: "real", in: scratch).savedSteps == [5])
  }

  // MARK: - Words that drive terminals

  private static let command = "r\u{1b}[2J\u{7f}\u{9b}\u{202e}"

  private func expectHarmless(_ text: String) {
    let found = text.unicodeScalars.filter { $0.canDriveTerminals && $0 != "\n" }
    #expect(found.isEmpty, "\(found.map(\.value)) in \(escaped(text))")
  }

  @Test func pathsInBannersUsageErrorsAndJSONCannotDriveATerminal() throws {
    let run = try TinyRun(steps: 5, name: Self.command, in: scratch)
    let trained = try run.train()
    #expect(trained.exitCode == 0 && trained.output.contains("\\u{202e}"), "\(trained.error)")
    let data = scratch.path + "/" + Self.command + "-data"
    var outcomes = [trained]
    for arguments in [
      ["prepare", "--preset", "copy", "--out", data], ["inspect", run.path],
      ["inspect", "--json", run.path], ["inspect", "--verify", "--json", run.path],
      ["inspect", "--diff", "--json", run.path, run.path], ["average", run.path, "--last", "1"],
      ["launch", "--dry-run", Program.copyConfiguration, "data.path=d", "--run", run.path],
      ["train", "--" + Self.command], ["train", "a", Self.command], ["prepare", Self.command],
      ["translate", "--checkpoint", "no-" + Self.command],
    ] {
      outcomes.append(try scratch.run(arguments))
    }
    #expect(outcomes.map(\.exitCode) == [0, 0, 0, 0, 0, 0, 0, 0, 64, 64, 64, 66])
    for outcome in outcomes {
      expectHarmless(outcome.output)
      expectHarmless(outcome.error)
    }
    for file in ["events.jsonl", "logs/rank-00000.log"] {
      expectHarmless(try String(contentsOfFile: run.path + "/" + file, encoding: .utf8))
    }
    let report = try JSONSerialization.jsonObject(with: Data(outcomes[3].output.utf8))
    let path = (report as? [String: Any])?["path"] as? String
    #expect(path?.hasPrefix(run.path) == true)
  }
}
