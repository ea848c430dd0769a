import Core
import Foundation
import Messaging
import Synchronization

/// What the ranks of a launch on one host tell each other, in memory they share, so that one line
/// speaks for all of them and one look at the lease is enough.
///
/// Nobody has an office here: whoever finds half a second over speaks for all, whoever finds a
/// second over looks at the lease. So whichever rank dies or freezes, the others miss it. A rank
/// without such memory has a board to itself.
///
/// No locks, every word is an atomic; what is read of a rank may be of moments that lie a few
/// instructions apart. Times are milliseconds of the clock that all processes of a host share.
///
/// Unchecked, because the memory is reached by pointer: by atomic operations alone.
package final class HostBoard: @unchecked Sendable {
  /// Ranks a board has room for.
  package static let capacity = 511
  /// A rank that has not told of itself for so long is spoken for no more.
  private static let forgottenMilliseconds = 10_000

  private static let beatMilliseconds = Int(Heartbeat.intervalSeconds * 1000)
  private static let lookMilliseconds = Int(Lease.intervalSeconds * 1000)
  private static let folder = "/dev/shm"

  /// Words before the places of ranks.
  private enum Word: Int {
    /// Ranks that have taken a place.
    case entered
    /// When somebody last spoke for all, and how often that was.
    case spokenAt
    case lineCount
    /// 1 when the first step of the launch was told of.
    case hasStepped
    /// When somebody last looked at the lease, what its beat was, plus 1, and when it changed.
    case lookedAt
    case leaseBeat
    case newsAt
    /// 1 when the lease names another job or a later launch.
    case isSuperseded
  }

  /// A place: the rank's number plus 1, when it last told of itself, and its reading's words.
  private static let wordsEach = 16
  private static let byteCount = (capacity + 1) * wordsEach * MemoryLayout<Atomic<Int>>.stride

  private let memory: UnsafeMutableRawPointer
  private let isMapped: Bool
  private let rank: Int
  /// Where this rank's words begin.
  private let place: Int
  /// False where this rank shares its board with nobody.
  package let isShared: Bool

  /// Takes a place on the board of this host, or a board of its own where there is none to be had.
  ///
  /// - Parameter host: tells hosts apart that see one folder of shared memory.
  package init(_ launch: SupervisedLaunch, rank: Int, host: String = HostName.current) {
    self.rank = rank
    if let shared = Self.map(Self.path(launch, host: host)) {
      let entered = Self.word(Word.entered.rawValue, in: shared).pointee.wrappingAdd(
        1, ordering: .relaxed
      ).oldValue
      if entered < Self.capacity {
        memory = shared
        isMapped = true
        isShared = true
        place = (1 + entered) * Self.wordsEach
        return
      }
      munmap(shared, Self.byteCount)
    }
    memory = .allocate(byteCount: Self.byteCount, alignment: 64)
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
    isMapped = false
    isShared = false
    place = Self.wordsEach
    Self.word(Word.entered.rawValue, in: memory).pointee.store(1, ordering: .relaxed)
  }

  deinit {
    if isMapped {
      munmap(memory, Self.byteCount)
    } else {
      memory.deallocate()
    }
  }
}

// MARK: - Signs of life

extension HostBoard {
  /// Tells of this rank.
  package func tell(_ reading: StepBeacon.Reading, at now: Int) {
    let words = reading.words
    for (index, value) in words.enumerated().dropFirst() {
      word(place + 2 + index).pointee.store(value, ordering: .relaxed)
    }
    // Whoever sees the activity sees what came before it.
    word(place + 2).pointee.store(words[0], ordering: .releasing)
    word(place + 1).pointee.store(now, ordering: .relaxed)
    word(place).pointee.store(rank + 1, ordering: .releasing)
  }

  /// The number of the line this rank is to say for all; nil while it is not due, or another's.
  ///
  /// - Parameter hasStepped: whether this rank has done a step of this launch: the first is told of
  ///   at once, because a supervisor waits for it after a death.
  package func takeTurnToSpeak(at now: Int, hasStepped: Bool) -> Int? {
    let last = word(.spokenAt).pointee.load(ordering: .relaxed)
    if hasStepped, take(.hasStepped, from: 0, to: 1) {
      word(.spokenAt).pointee.store(now, ordering: .relaxed)
    } else if now - last < Self.beatMilliseconds || !take(.spokenAt, from: last, to: now) {
      return nil
    }
    return word(.lineCount).pointee.wrappingAdd(1, ordering: .relaxed).newValue
  }

  /// What is to be said of the ranks: together of those that do the same and told of themselves
  /// within the same half second.
  package func frames(_ sequence: Int, of launch: SupervisedLaunch, at now: Int) -> [HeartbeatFrame]
  {
    var groups: [(ranks: [Int], age: Int, reading: StepBeacon.Reading)] = []
    for told in readings(at: now) where told.age <= Self.forgottenMilliseconds {
      let same = groups.firstIndex {
        $0.reading.activity == told.reading.activity
          && $0.reading.exitCode == told.reading.exitCode
          && $0.age / Self.beatMilliseconds == told.age / Self.beatMilliseconds
      }
      guard let same else {
        groups.append(([told.rank], told.age, told.reading))
        continue
      }
      groups[same].ranks.append(told.rank)
      groups[same].age = max(groups[same].age, told.age)
      groups[same].reading.join(told.reading)
    }
    return groups.flatMap { group in
      let runs = Self.runs(group.ranks.sorted())
      return stride(from: 0, to: runs.count, by: HeartbeatFrame.runLimit).map { start in
        HeartbeatFrame(
          incarnation: launch.incarnation,
          ranks: Array(runs[start..<min(runs.count, start + HeartbeatFrame.runLimit)]),
          sequence: sequence, ageMilliseconds: group.age, reading: group.reading)
      }
    }
  }

  private func readings(at now: Int) -> [(rank: Int, age: Int, reading: StepBeacon.Reading)] {
    let count = min(word(.entered).pointee.load(ordering: .relaxed), Self.capacity)
    return (1..<1 + count).compactMap { index in
      let place = index * Self.wordsEach
      let rank = word(place).pointee.load(ordering: .acquiring) - 1
      let age = max(0, now - word(place + 1).pointee.load(ordering: .relaxed))
      let activity = word(place + 2).pointee.load(ordering: .acquiring)
      let others = (1..<StepBeacon.Reading.wordCount).map {
        word(place + 2 + $0).pointee.load(ordering: .relaxed)
      }
      // It has a place and has not told of itself yet.
      guard rank >= 0, let reading = StepBeacon.Reading(words: [activity] + others) else {
        return nil
      }
      return (rank, age, reading)
    }
  }

  /// 0, 1, 2, 5 is 0-2 and 5.
  private static func runs(_ ranks: [Int]) -> [ClosedRange<Int>] {
    var runs: [ClosedRange<Int>] = []
    for rank in ranks {
      if let last = runs.last, last.upperBound == rank - 1 {
        runs[runs.count - 1] = last.lowerBound...rank
      } else {
        runs.append(rank...rank)
      }
    }
    return runs
  }
}

// MARK: - The lease

extension HostBoard {
  /// Whether this rank is to look at the lease now, for all. One that hangs there, or dies, is
  /// followed by another a second later.
  package func takeTurnToLook(at now: Int) -> Bool {
    let last = word(.lookedAt).pointee.load(ordering: .relaxed)
    return now - last >= Self.lookMilliseconds && take(.lookedAt, from: last, to: now)
  }

  /// Tells what this rank has read of the lease, when.
  package func note(_ lease: Lease, of launch: SupervisedLaunch, at now: Int) {
    // Somebody else has the run now, or has started it again: nothing of this launch counts.
    if lease.job != launch.job || lease.incarnation > launch.incarnation {
      word(.isSuperseded).pointee.store(1, ordering: .relaxed)
    } else if lease.beat >= word(.leaseBeat).pointee.load(ordering: .relaxed) {
      word(.leaseBeat).pointee.store(lease.beat + 1, ordering: .relaxed)
      word(.newsAt).pointee.store(now, ordering: .relaxed)
    }
  }

  /// When the lease was last seen to change; 0 where it never was.
  package var newsAt: Int { word(.newsAt).pointee.load(ordering: .relaxed) }

  package var isSuperseded: Bool { word(.isSuperseded).pointee.load(ordering: .relaxed) != 0 }
}

// MARK: - Memory

extension HostBoard {
  /// Takes the name of the board away: whoever has it keeps it. For when all ranks have theirs.
  package static func removeName(_ launch: SupervisedLaunch, host: String = HostName.current) {
    unlink(path(launch, host: host))
  }

  /// Takes away what launches of a job that never got so far have left on this host.
  package static func removeNames(job: String) {
    let prefix = namePrefix(job: job)
    for name in (try? FileSystem.names(in: folder)) ?? [] where name.hasPrefix(prefix) {
      unlink("\(folder)/\(name)")
    }
  }

  private static func namePrefix(job: String) -> String { "lockstep-\(job)-" }

  private static func path(_ launch: SupervisedLaunch, host: String) -> String {
    let name = namePrefix(job: launch.job) + "\(launch.incarnation)-\(host)"
    return "\(folder)/\(name.replacing("/", with: "_"))"
  }

  /// Maps the board's file; nil where that cannot be.
  private static func map(_ path: String) -> UnsafeMutableRawPointer? {
    let descriptor = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var status = stat()
    // Anybody may have put something there: only a file that is ours alone will do.
    guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
      status.st_mode & 0o077 == 0, status.st_uid == geteuid(), status.st_nlink == 1,
      // By every rank, so that none maps what is not there yet; where there is no room this fails,
      // and not a store with SIGBUS.
      posix_fallocate(descriptor, 0, off_t(byteCount)) == 0,
      let memory = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0),
      memory != MAP_FAILED
    else { return nil }
    return memory
  }

  private static func word(
    _ index: Int, in memory: UnsafeMutableRawPointer
  ) -> UnsafeMutablePointer<Atomic<Int>> {
    // Zeroed memory is a word at 0.
    (memory + index * MemoryLayout<Atomic<Int>>.stride).assumingMemoryBound(to: Atomic<Int>.self)
  }

  private func word(_ index: Int) -> UnsafeMutablePointer<Atomic<Int>> {
    Self.word(index, in: memory)
  }

  private func word(_ word: Word) -> UnsafeMutablePointer<Atomic<Int>> { self.word(word.rawValue) }

  /// Whether this rank is the one that changes a word.
  private func take(_ word: Word, from before: Int, to after: Int) -> Bool {
    self.word(word).pointee
      .compareExchange(expected: before, desired: after, ordering: .relaxed).exchanged
  }
}
