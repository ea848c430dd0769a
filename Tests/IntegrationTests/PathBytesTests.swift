import Checkpoints
import Core
import Foundation
import Testing

/// Folders that text cannot name, that may not be searched, or whose place cannot be taken; and
/// those of a group.
@Suite(.serialized) struct PathBytesTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// The command with its run directory named from where it is started.
  private func relative(_ run: TinyRun, _ launch: Program.Launch = .alone) throws -> [String] {
    try run.command(launch).map { $0 == run.path ? FileSystem.name(of: run.path) : $0 }
  }

  private func shell(_ script: String, _ words: [String] = []) throws -> Outcome {
    try Job(["sh", "-c", script, "sh"] + words, in: scratch).outcome()
  }

  /// Stands in a folder whose name is not UTF-8.
  private static let inLatin =
    #"d="$(printf 'caf\351')" && mkdir -p "$d" && cd "$d" && exec "$@""#

  @Test(arguments: [Program.Launch.alone, .supervised(2)])
  func aRunLivesBelowAFolderThatTextCannotName(launch: Program.Launch) throws {
    let run = try TinyRun(steps: 10, in: scratch)
    let outcome = try shell(Self.inLatin, try relative(run, launch))
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(try shell("mv caf* moved").exitCode == 0)
    let alone = try TinyRun(steps: 10, name: "alone", in: scratch).finish()
    #expect(try RunResult(run: scratch.path + "/moved/run").differences(from: alone) == [])
  }

  @Test func aDatasetIsMadeBelowAFolderThatTextCannotName() throws {
    let prepare = try Program.command(["prepare", "--preset", "copy", "--out", "data/"])
    let outcome = try shell(Self.inLatin, prepare)
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    let names = try shell("ls -A caf*").output
    #expect(names == "data\n")
    #expect(try shell("ls -d caf* | wc -l").output == "1\n")
  }

  @Test func anArgumentThatIsNotTextIsRefused() throws {
    let prepare = try Program.command(["prepare", "--preset", "copy"])
    let outcome = try shell(#"exec "$@" --out "$(printf 'd\351')""#, prepare)
    outcome.expectRefusal(.usage, naming: ["argument 5", "not UTF-8"])
    let names = try FileManager.default.contentsOfDirectory(atPath: scratch.path)
    #expect(names.filter { $0.hasPrefix("d") || $0.hasPrefix(".d") } == [])
  }

  @Test(arguments: [".", "..", "./"])
  func aFolderThatCannotBeReplacedIsRefused(place: String) throws {
    try scratch.run(["prepare", "--preset", "copy", "--out", place])
      .expectRefusal(.cannotCreate, naming: ["the name of a folder"])
  }

  // MARK: - Found at the start

  @Test(arguments: [Program.Launch.alone, .supervised(2)])
  func aStaleLaunchNumberIsRefusedBeforeTheFirstStep(launch: Program.Launch) throws {
    for steps in [5, 10] { try TinyRun(steps: steps, in: scratch).finish() }
    let before = try TinyRun(steps: 15, in: scratch).finish()
    let run = try TinyRun(steps: 20, in: scratch)
    try scratch.file("run/incarnation", "1\n")
    try run.train(launch)
      .expectRefusal(.badData, naming: ["run/incarnation: ", "step-000000015", "write 3 into it"])
    #expect(try run.result().differences(from: before) == [])
    try scratch.file("run/incarnation", "3\n")
    try run.finish(launch)
    #expect(run.savedSteps == [10, 15, 20])
  }

  /// Another user than root, whom nothing stops.
  private static let user = [
    "setpriv", "--reuid=61001", "--regid=61001", "--clear-groups", "--no-new-privs",
  ]

  private static let canBeOthers: Bool = {
    guard geteuid() == 0, let scratch = try? Scratch(), let path = Program.path
    else { return false }
    let job = try? Job(user + [path, "--version"], in: scratch)
    return (try? job?.outcome())?.exitCode == 0
  }()

  private static let needsRoot: Comment = "SKIPPED: needs root, setpriv and a build all may enter"

  @Test(.enabled(if: canBeOthers, needsRoot))
  func aFolderThatMayNotBeSearchedFromAboveIsNoObstacle() throws {
    let run = try TinyRun(steps: 5, in: scratch)
    let enter =
      "chmod 777 tmp && mkdir -p closed/own && chmod 700 closed && chown 61001 closed/own"
      + " && cd closed/own && exec \"$@\""
    for command in [
      try relative(run), try Program.command(["prepare", "--preset", "copy", "--out", "data"]),
    ] {
      let outcome = try shell(enter, Self.user + command)
      #expect(outcome.exitCode == 0, "\(outcome.error)")
    }
    #expect(try Checkpoint.open(scratch.path + "/closed/own/run") { _ in }.header.step == 5)
    #expect(FileSystem.exists(scratch.path + "/closed/own/data/dataset.json"))
  }

  @Test(.enabled(if: canBeOthers, needsRoot), arguments: [Program.Launch.alone, .mpirun(2)])
  func whereNoCheckpointCanBeMadeNothingIsTrained(launch: Program.Launch) throws {
    let run = try TinyRun(steps: 5, in: scratch)
    let prepare =
      "chmod 777 tmp . && mkdir -p run/checkpoints run/logs && chown -R 61001 run"
      + " && chmod 555 run/checkpoints"
    #expect(try shell(prepare).exitCode == 0)
    let outcome = try Job(Self.user + (try run.command(launch)), in: scratch).outcome()
    outcome.expectRefusal(.cannotCreate, naming: ["run/checkpoints/.tmp-"])
  }

  // MARK: - Mount points

  private static let canMount: Bool = {
    guard let scratch = try? Scratch() else { return false }
    let script = "mkdir m && mount --bind m m && umount m"
    return (try? Job(["sh", "-c", script], in: scratch).outcome())?.exitCode == 0
  }()

  private func withMount(_ name: String, _ body: () throws -> Void) throws {
    try #require(try shell("mkdir -p \(name) && mount --bind \(name) \(name)").exitCode == 0)
    defer { _ = try? shell("umount --lazy \(name)") }
    try body()
  }

  @Test(.enabled(if: canMount, "SKIPPED: needs the right to mount"))
  func aMountPointIsRefusedAtOnceWhereItWouldBeReplaced() throws {
    try withMount("data") {
      try scratch.run(["prepare", "--preset", "copy", "--out", scratch.path + "/data"])
        .expectRefusal(.cannotCreate, naming: ["/data: is a mount point"])
      #expect(try FileSystem.names(in: scratch.path).filter { $0.contains("data") } == ["data"])
    }
    try TinyRun(steps: 5, in: scratch).finish()
    let average = ["average", scratch.path + "/run", "--last", "1"]
    #expect(try scratch.run(average).exitCode == 0)
    try withMount("run/average-last-1") {
      try scratch.run(average)
        .expectRefusal(.cannotCreate, naming: ["/average-last-1: is a mount point"])
    }
  }

  @Test(.enabled(if: canMount, "SKIPPED: needs the right to mount"))
  func aRunLivesOnAMountPoint() throws {
    try withMount("run") {
      let run = try TinyRun(steps: 10, in: scratch)
      try run.finish(.supervised(2))
      #expect(run.savedSteps == [5, 10])
    }
  }

  // MARK: - A group

  @Test(.enabled(if: canBeOthers, needsRoot))
  func aSecondMemberOfAGroupGoesOn() throws {
    #expect(
      try shell(
        "chmod 777 tmp && mkdir group && chown 61001:61100 group && chmod 2775 group"
      ).exitCode == 0)
    func member(_ user: Int, _ command: [String]) throws -> Outcome {
      let who = [
        "setpriv", "--reuid=\(user)", "--regid=\(user)", "--groups=61100", "--no-new-privs",
      ]
      return try shell("umask 002 && export HOME=\"$PWD/tmp\" && exec \"$@\"", who + command)
    }
    for (user, steps, launch) in [
      (61_001, 5, Program.Launch.supervised(2)), (61_002, 10, .alone), (61_001, 15, .alone),
      (61_002, 25, .supervised(2)),
    ] {
      let run = try TinyRun(steps: steps, name: "group/run", in: scratch)
      let outcome = try member(user, try run.command(launch))
      #expect(outcome.exitCode == 0, "\(user), \(steps): \(outcome.error)")
    }
    let run = try TinyRun(name: "group/run", in: scratch)
    #expect(run.savedSteps == [15, 20, 25])
    let alone = try TinyRun(steps: 25, name: "alone", in: scratch).finish()
    #expect(try run.result().differences(from: alone) == [])
    let data = scratch.path + "/group/data"
    let prepare = try Program.command(["prepare", "--preset", "copy", "--out", data])
    #expect(try member(61_001, prepare).exitCode == 0)
    let closed = try shell("find group ! -perm -0060 -o -type d ! -perm -2070").output
    #expect(closed == "")
  }
}
