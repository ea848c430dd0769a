import Core
import Foundation
import Testing

/// What many ranks cost their hosts and the file server of the run.
@Suite(
  .serialized,
  .enabled(if: Hosts.isPermitted, "SKIPPED: network namespaces are not permitted here"),
  .enabled(
    if: ProcessInfo.processInfo.environment["LOCKSTEP_CLUSTER"] != nil,
    "SKIPPED: sixty-four ranks take a minute: LOCKSTEP_CLUSTER=1"))
struct ManyRanksTests {
  private static let hostCount = 4
  private static let ranksEach = 16
  private static let socketLimit = 80
  /// Large enough for every rank to own a part of it, so that each hears from all of other hosts.
  private static let settings = [
    "batch.lanes=64", "batch.tokens=1280", "model.dimension=256", "model.feed_forward=512",
    "evaluation.every=1000", "checkpoint.every=1000",
  ]

  /// The most sockets each process was seen with.
  private struct SocketCounts {
    private(set) var byProcess: [Int32: Int] = [:]

    mutating func look(at processes: [Int32]) {
      for process in processes {
        let count = Sockets.count(of: process)
        byProcess[process] = max(count, byProcess[process] ?? 0)
      }
    }
  }

  @Test func sixtyFourRanksOnFourHostsAreOneRun() throws {
    let scratch = try Scratch()
    let hosts = Hosts(
      Array(repeating: "\(Self.ranksEach)", count: Self.hostCount).joined(separator: ","),
      in: scratch)
    let run = try TinyRun(Self.settings, steps: 8, in: scratch)
    let command = try run.command()
    let job = try hosts.start(
      // Where so many share two cores, a rank may not have its turn for seconds.
      [command[0], "launch", "--liveness", "30", "--host", hosts.list()] + command.dropFirst(2))
    try run.waitForStep(1, of: job)
    let ranks = try (0..<Self.hostCount).flatMap { host in
      try hosts.processes(on: host).filter {
        Scratch.commandLine(of: $0).split(separator: "\0").dropFirst().first == "train"
      }
    }
    #expect(ranks.count == Self.hostCount * Self.ranksEach)
    // Hosts share files, and the kernel sees all of them.
    let leasePath = run.path + "/supervisor.lease"
    let number = try String(contentsOfFile: leasePath, encoding: .utf8).prefix(32)
    #expect(try FileSystem.names(in: "/dev/shm").filter { $0.contains("\(number)-") } == [])
    let lease = try FileWatch(leasePath)
    var sockets = SocketCounts()
    while job.isRunning {
      sockets.look(at: ranks)
      lease.look()
    }
    let outcome = try job.outcome()
    #expect(outcome.exitCode == 0, "\(outcome.error)")
    #expect(run.supervisorLines("death") == [])

    let most = sockets.byProcess.values.max() ?? 0
    #expect(most <= Self.socketLimit)
    // The look finds what is there: a connection to each rank of other hosts.
    #expect(most >= (Self.hostCount - 1) * Self.ranksEach)
    // The supervisor writes it once a second, and reads it each time.
    let looks = lease.readCount - lease.writeCount
    #expect(lease.writeCount >= 2, "the run was too short to tell")
    #expect(looks <= Self.hostCount * (lease.writeCount + 2))
    #expect(looks >= Self.hostCount * (lease.writeCount / 2))
    FileHandle.standardError.write(
      Data(
        """
        64 ranks on 4 hosts: at most \(most) sockets a rank; \(looks) looks at the lease while it \
        changed \(lease.writeCount) times

        """.utf8))

    let alone = try TinyRun(Self.settings, steps: 8, name: "alone", in: scratch).finish()
    #expect(try run.result().differences(from: alone) == [])
  }
}

/// Counts how often a file was closed, after reading and after writing, by whichever process.
private final class FileWatch {
  private let descriptor: Int32
  private(set) var readCount = 0
  private(set) var writeCount = 0

  init(_ path: String) throws {
    descriptor = inotify_init1(Int32(IN_NONBLOCK | IN_CLOEXEC))
    try #require(descriptor >= 0)
    // Opens stand between the closes, which would else be told as one.
    let events = UInt32(IN_OPEN | IN_CLOSE_NOWRITE | IN_CLOSE_WRITE)
    try #require(inotify_add_watch(descriptor, path, events) >= 0, "\(path)")
  }

  deinit { close(descriptor) }

  /// Takes what has happened since the last look.
  func look() {
    var events = [inotify_event](repeating: inotify_event(), count: 256)
    while true {
      let count = read(descriptor, &events, events.count * MemoryLayout<inotify_event>.stride)
      guard count > 0 else { return }
      for event in events.prefix(count / MemoryLayout<inotify_event>.stride) {
        if event.mask & UInt32(IN_CLOSE_NOWRITE) != 0 { readCount += 1 }
        if event.mask & UInt32(IN_CLOSE_WRITE) != 0 { writeCount += 1 }
      }
    }
  }
}
