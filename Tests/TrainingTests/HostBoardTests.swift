import Core
import Foundation
import Testing
import Training

/// Ranks of one host that hear of each other, in memory they share.
@Suite struct HostBoardTests {
  private let launch = SupervisedLaunch(
    job: (0..<32).map { _ in String("0123456789abcdef".randomElement() ?? "0") }.joined(),
    incarnation: 3, leasePath: "/nowhere")

  private func reading(
    _ step: Int, _ activity: RankActivity = .training, work: Int = 0, resumed: Int = -1
  ) -> StepBeacon.Reading {
    var reading = StepBeacon.Reading()
    reading.step = step
    reading.activity = activity
    reading.work = work
    reading.resumedStep = resumed
    return reading
  }

  private func lease(_ beat: Int, incarnation: Int = 3, job: String? = nil) -> Lease {
    Lease(
      job: job ?? launch.job, host: "a", boot: "", process: 1, processStart: "1", started: "",
      incarnation: incarnation, beat: beat)
  }

  /// What of the job lies in shared memory now.
  private func names() throws -> [String] {
    try FileSystem.names(in: "/dev/shm").filter { $0.hasPrefix("lockstep-\(launch.job)-") }
  }

  private func withBoards(
    _ count: Int, hosts: [String] = ["a"], _ body: ([HostBoard]) throws -> Void
  ) throws {
    defer { HostBoard.removeNames(job: launch.job) }
    try body(
      (0..<count).map { HostBoard(launch, rank: $0, host: hosts[$0 * hosts.count / count]) })
  }

  @Test func oneLineSpeaksForAllThatDoTheSame() throws {
    try withBoards(5) { boards in
      #expect(boards.allSatisfy { $0.isShared })
      for (rank, board) in boards.enumerated() {
        board.tell(
          reading(10 + rank, rank == 2 ? .saving : .training, work: 50 - rank), at: 1000 + rank)
      }
      let frames = boards[3].frames(8, of: launch, at: 1100)
      #expect(frames.map(\.ranks) == [[0...1, 3...4], [2...2]])
      #expect(frames.map(\.reading) == [reading(14, work: 50), reading(12, .saving, work: 48)])
      #expect(frames.map(\.ageMilliseconds) == [100, 98])
      #expect(frames.allSatisfy { $0.sequence == 8 && $0.incarnation == 3 })
    }
  }

  /// One that no longer tells of itself is told of with its own age, and in the end not at all.
  @Test func aRankThatIsSilentAgesAlone() throws {
    try withBoards(3) { boards in
      for board in boards { board.tell(reading(5), at: 1000) }
      for board in boards.dropFirst() { board.tell(reading(6), at: 2150) }
      let late = boards[1].frames(1, of: launch, at: 2200)
      #expect(late.map(\.ranks) == [[0...0], [1...2]])
      #expect(late.map(\.ageMilliseconds) == [1200, 50])
      #expect(late.map(\.reading.step) == [5, 6])
      for board in boards.dropFirst() { board.tell(reading(7), at: 12_000) }
      #expect(boards[1].frames(2, of: launch, at: 12_000).map(\.ranks) == [[1...2]])
    }
  }

  @Test func whoeverComesFirstSpeaksAndNobodyElseUntilTheNextTime() throws {
    try withBoards(3) { boards in
      #expect(boards[1].takeTurnToSpeak(at: 10_000, hasStepped: false) == 1)
      for board in boards {
        #expect(board.takeTurnToSpeak(at: 10_499, hasStepped: false) == nil)
      }
      #expect(boards[2].takeTurnToSpeak(at: 10_500, hasStepped: false) == 2)
      #expect(boards[0].takeTurnToSpeak(at: 10_501, hasStepped: false) == nil)
      // The first step is told of at once, once.
      #expect(boards[0].takeTurnToSpeak(at: 10_502, hasStepped: true) == 3)
      #expect(boards[1].takeTurnToSpeak(at: 10_503, hasStepped: true) == nil)
      #expect(boards[1].takeTurnToSpeak(at: 11_002, hasStepped: true) == 4)
    }
  }

  /// However many try at the same moment.
  @Test func aTurnIsTakenOnce() throws {
    try withBoards(8) { boards in
      for round in 1...200 {
        let now = 10_000 * round
        nonisolated(unsafe) var spoken = [Int?](repeating: nil, count: boards.count)
        nonisolated(unsafe) var looked = [Bool](repeating: false, count: boards.count)
        spoken.withUnsafeMutableBufferPointer { spoken in
          looked.withUnsafeMutableBufferPointer { looked in
            nonisolated(unsafe) let (spoken, looked) = (spoken, looked)
            DispatchQueue.concurrentPerform(iterations: boards.count) { index in
              spoken[index] = boards[index].takeTurnToSpeak(at: now, hasStepped: false)
              looked[index] = boards[index].takeTurnToLook(at: now)
            }
          }
        }
        #expect(spoken.compactMap(\.self) == [round])
        #expect(looked.count { $0 } == 1)
      }
    }
  }

  @Test func aLeaseOfImpossibleBeatsIsNone() {
    for beat in [0, 1 << 53 - 1] {
      #expect(Lease(bytes: lease(beat).bytes)?.beat == beat)
    }
    for beat in [-1, 1 << 53, Int.max] { #expect(Lease(bytes: lease(beat).bytes) == nil) }
  }

  @Test func oneLookAtTheLeaseIsEnough() throws {
    try withBoards(3) { boards in
      #expect(boards[0].takeTurnToLook(at: 5_000))
      #expect(!boards[1].takeTurnToLook(at: 5_999))
      boards[0].note(lease(7), of: launch, at: 5_010)
      #expect(boards.allSatisfy { $0.newsAt == 5_010 && !$0.isSuperseded })
      // The one that looked may never come back: another does.
      #expect(boards[2].takeTurnToLook(at: 6_000))
      boards[2].note(lease(7), of: launch, at: 6_010)
      #expect(boards.allSatisfy { $0.newsAt == 5_010 })
      // What was read long ago and told late is no news.
      boards[1].note(lease(9), of: launch, at: 7_000)
      boards[2].note(lease(8), of: launch, at: 8_000)
      #expect(boards.allSatisfy { $0.newsAt == 7_000 && !$0.isSuperseded })
    }
  }

  @Test(arguments: [true, false]) func whoeverSeesThatTheRunIsAnothersTellsAll(isNext: Bool) throws
  {
    try withBoards(2) { boards in
      boards[1].note(
        isNext
          ? lease(1, incarnation: 4) : lease(1, job: String(repeating: "e", count: 32)),
        of: launch, at: 1)
      #expect(boards.allSatisfy { $0.isSuperseded })
    }
  }

  /// A line of many ranks that lie apart is several, none longer than a pipe takes whole.
  @Test func ranksThatLieApartTakeSeveralLines() throws {
    defer { HostBoard.removeNames(job: launch.job) }
    let ranks = (0..<50).map { 60_000 + 100 * $0 }
    let boards = ranks.map { HostBoard(launch, rank: $0, host: "a") }
    for board in boards {
      board.tell(reading(1 << 40, work: 1 << 40, resumed: 1 << 40), at: 1 << 40)
    }
    let frames = boards[0].frames(1 << 39, of: launch, at: 1 << 40)
    #expect(frames.flatMap { $0.heartbeats.map(\.rank) } == ranks)
    for frame in frames {
      let line = frame.line(job: launch.job)
      #expect(line.count < HeartbeatFrame.byteLimit)
      #expect(HeartbeatFrame(bytes: line.dropFirst().dropLast(2), job: launch.job) == frame)
    }
  }

  @Test func hostsDoNotHearOfEachOther() throws {
    try withBoards(4, hosts: ["a", "b"]) { boards throws in
      for board in boards { board.tell(reading(1), at: 1000) }
      #expect(boards[1].frames(1, of: launch, at: 1000).map(\.ranks) == [[0...1]])
      #expect(boards[2].frames(1, of: launch, at: 1000).map(\.ranks) == [[2...3]])
      #expect(try names().count == 2)
    }
    #expect(try names() == [])
  }

  @Test func whereTheNameIsGoneTheBoardStays() throws {
    try withBoards(2) { boards throws in
      HostBoard.removeName(launch, host: "a")
      #expect(try names() == [])
      boards[0].tell(reading(1), at: 1000)
      #expect(boards[1].frames(1, of: launch, at: 1000).map(\.ranks) == [[0...0]])
    }
  }

  /// Somebody else's file, a link, a pipe, one that others reach: a board to oneself.
  @Test(arguments: ["link", "pipe", "shared", "second name", "full"])
  func whatIsNoFileOfOursAloneIsNotUsed(kind: String) throws {
    defer { HostBoard.removeNames(job: launch.job) }
    let path = "/dev/shm/lockstep-\(launch.job)-3-a"
    let other = "/dev/shm/lockstep-\(launch.job)-other"
    switch kind {
    case "link": #expect(symlink(other, path) == 0)
    case "pipe": #expect(mkfifo(path, 0o600) == 0)
    case "shared":
      try Data().write(to: URL(fileURLWithPath: path))
      #expect(chmod(path, 0o666) == 0)
    case "second name":
      try Data().write(to: URL(fileURLWithPath: other))
      #expect(chmod(other, 0o600) == 0 && link(other, path) == 0)
    default:
      for rank in 0..<HostBoard.capacity {
        #expect(HostBoard(launch, rank: rank, host: "a").isShared)
      }
    }
    let boards = [HostBoard(launch, rank: 0, host: "a"), HostBoard(launch, rank: 1, host: "a")]
    for board in boards {
      #expect(!board.isShared)
      board.tell(reading(4), at: 1000)
      #expect(board.takeTurnToSpeak(at: 1000, hasStepped: false) == 1)
      #expect(board.takeTurnToLook(at: 1000))
      board.note(lease(1), of: launch, at: 1001)
    }
    #expect(boards[1].frames(1, of: launch, at: 1000).map(\.ranks) == [[1...1]])
    #expect(boards[1].newsAt == 1001)
  }

  /// As ranks are, not threads: what one process tells another says.
  @Test func processesHearOfEachOther() async throws {
    defer { HostBoard.removeNames(job: launch.job) }
    let board = HostBoard(launch, rank: 0, host: "a")
    board.tell(reading(11), at: 1000)
    await #expect(processExitsWith: .success) { [job = launch.job as String] in
      let launch = SupervisedLaunch(job: job, incarnation: 3, leasePath: "/nowhere")
      let own = HostBoard(launch, rank: 1, host: "a")
      var reading = StepBeacon.Reading()
      reading.step = 12
      own.tell(reading, at: 1000)
      reading.step = 11
      reading.activity = .training
      let said = own.frames(1, of: launch, at: 1000)
      try #require(said.map(\.ranks) == [[0...0], [1...1]])
      try #require(said[0].reading == reading)
      try #require(own.takeTurnToSpeak(at: 1000, hasStepped: false) == 1)
    }
    // It is gone; what it told of itself ages.
    #expect(board.takeTurnToSpeak(at: 1499, hasStepped: false) == nil)
    #expect(board.takeTurnToSpeak(at: 1500, hasStepped: false) == 2)
    let said = board.frames(2, of: launch, at: 1500)
    #expect(said.map(\.ranks) == [[0...0], [1...1]])
    #expect(said.map(\.reading.step) == [11, 12])
  }
}
