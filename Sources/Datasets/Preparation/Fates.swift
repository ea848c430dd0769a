import Core
import Synchronization

/// What becomes of each pair, by its number: a byte each.
///
/// The first rank decides and writes it to a file, of which every task reads what its block needs.
struct Fates: Sendable {
  enum Fate: UInt8, Sendable {
    /// Empty, lopsided, or not decided.
    case leftOut = 0
    case training, validation, test
    case duplicate, overlapping, untranslated

    init(_ split: Split) {
      switch split {
      case .training: self = .training
      case .validation: self = .validation
      case .test: self = .test
      }
    }

    var split: Split? {
      switch self {
      case .training: .training
      case .validation: .validation
      case .test: .test
      default: nil
      }
    }
  }

  let path: String

  /// The fates of the pairs of a block.
  func of(_ block: Block) throws(Failure) -> [Fate] {
    let file = try OpenFile(reading: path)
    return try file.read(byteCount: block.count, at: block.firstIndex)
      .map { Fate(rawValue: $0) ?? .leftOut }
  }

  /// Writes them all.
  func write(_ fates: [UInt8]) throws(Failure) {
    try FileSystem.removeFile(path)
    let file = try OpenFile(creating: path)
    try fates.withUnsafeBytes { raw in
      Result { () throws(Failure) in try file.write(raw, at: 0) }
    }.get()
  }
}

/// Decides the fates: repeated pairs, held-out pairs, overlap between splits.
///
/// Partition by partition, by threads of one process: what may be equal lies in one partition.
final class FateDecision: Sendable {
  private let pairRecords: RecordFiles
  private let sourceRecords: RecordFiles
  private let fates: Mutex<[UInt8]>

  /// - Parameter fates: of what was decided before; pairs with greater numbers are new.
  init(pairRecords: RecordFiles, sourceRecords: RecordFiles, fates: [UInt8] = []) {
    self.pairRecords = pairRecords
    self.sourceRecords = sourceRecords
    self.fates = Mutex(fates)
  }

  var all: [UInt8] { fates.withLock { $0 } }

  /// How many pairs have a fate, and the first of them.
  func tally(_ fate: Fates.Fate, from first: Int = 0) -> Tally {
    fates.withLock { fates in
      var tally = Tally()
      for index in first..<fates.count where fates[index] == fate.rawValue { tally.add(index) }
      return tally
    }
  }

  /// Gives pairs their fates: that of `splits` to the first of equal ones in a split.
  ///
  /// - Parameters:
  ///   - count: how many pairs there are by now.
  ///   - first: the number of the first new one.
  ///   - splits: by ranges of numbers, ascending, those of the new pairs.
  func removeDuplicates(
    count: Int, from first: Int, splits: [(numbers: Range<Int>, split: Split)], team: Team,
    say: @escaping (String) -> Void
  ) throws(Failure) {
    fates.withLock { $0 += [UInt8](repeating: 0, count: count - $0.count) }
    let records = pairRecords
    _ = try team.run(
      progress("removing repeated pairs", count, say)
    ) { (task, _) throws(Failure) -> Int in
      let sorted = try records.records(of: task)
      self.fates.withLock { fates in
        // The last digest, and the splits in which it has been kept.
        var digest: Digest?
        var seen: [Split] = []
        for record in sorted {
          if record.digest != digest { seen = [] }
          digest = record.digest
          if record.index < first {
            if let split = Fates.Fate(rawValue: fates[record.index])?.split { seen.append(split) }
            continue
          }
          guard let split = splits.first(where: { $0.numbers.contains(record.index) })?.split
          else { continue }
          let isNew = !seen.contains(split)
          fates[record.index] = (isNew ? Fates.Fate(split) : .duplicate).rawValue
          if isNew { seen.append(split) }
        }
      }
      return 0
    }
  }

  /// Moves pairs from training to the held-out splits, chosen by a hash of their source text.
  ///
  /// Throws: `Failure` (.badData) when that leaves no training pair.
  func holdOut(
    _ amounts: [Split: Int], seed: UInt64, team: Team, say: @escaping (String) -> Void
  ) throws(Failure) {
    let wanted = amounts.values.reduce(0, +)
    guard wanted > 0 else { return }
    let trainingCount = tally(.training).count
    guard wanted < trainingCount else {
      throw Failure(
        .badData,
        "expected more than \(wanted) pairs to hold out that many, found \(trainingCount);"
          + " ask for fewer"
      )
    }
    let records = sourceRecords
    let chosen = Chosen(limit: wanted)
    _ = try team.run(
      progress("choosing held-out pairs", trainingCount, say)
    ) { (task, _) throws(Failure) -> Int in
      let sorted = try records.records(of: task)
      let training = self.fates.withLock { fates in
        sorted.filter { fates[$0.index] == Fates.Fate.training.rawValue }
      }
      var last: (digest: Digest, key: UInt64)?
      chosen.add(
        training.map { record in
          let key =
            last?.digest == record.digest
            ? last?.key ?? 0 : Digest(of: "\(seed) \(record.digest)").low
          last = (record.digest, key)
          return Chosen.Candidate(key: key, index: record.index)
        })
      return 0
    }
    let order = chosen.all
    var taken = 0
    fates.withLock { fates in
      for split in [Split.test, .validation] {
        guard let amount = amounts[split], amount > 0 else { continue }
        // What files gave to the split gives way.
        for candidate in order[taken..<taken + amount] {
          fates[candidate.index] = Fates.Fate(split).rawValue
        }
        taken += amount
      }
    }
  }

  /// Leaves out pairs so that no source text occurs in two splits: those of the splits that come
  /// first in `order` stay.
  func removeOverlap(
    _ order: [Split], team: Team, say: @escaping (String) -> Void
  ) throws(Failure) {
    let records = sourceRecords
    let count = fates.withLock { $0.count }
    let kept = order.map { Fates.Fate($0).rawValue }
    _ = try team.run(
      progress("separating the splits", count, say)
    ) { (task, _) throws(Failure) -> Int in
      let sorted = try records.records(of: task)
      self.fates.withLock { fates in
        var start = 0
        while start < sorted.count {
          let digest = sorted[start].digest
          var end = start + 1
          while end < sorted.count, sorted[end].digest == digest { end += 1 }
          let group = sorted[start..<end]
          if let winner = kept.first(where: { fate in group.contains { fates[$0.index] == fate } })
          {
            for record in group
            where fates[record.index] != winner && kept.contains(fates[record.index]) {
              fates[record.index] = Fates.Fate.overlapping.rawValue
            }
          }
          start = end
        }
      }
      return 0
    }
  }

  /// Leaves out training pairs with the same text on both sides.
  func leaveOut(untranslated indices: [Int]) {
    fates.withLock { fates in
      for index in indices { fates[index] = Fates.Fate.untranslated.rawValue }
    }
  }

  private func progress(
    _ title: String, _ count: Int, _ say: @escaping (String) -> Void
  ) -> StageProgress {
    let partitions = pairRecords.partitionCount
    return StageProgress(
      title, (0..<partitions).map { count * ($0 + 1) / partitions - count * $0 / partitions },
      .pairs, say: say)
  }
}

/// The candidates with the smallest keys among all that were added, in order.
private final class Chosen: Sendable {
  struct Candidate: Comparable, Sendable {
    var key: UInt64
    var index: Int

    static func < (a: Candidate, b: Candidate) -> Bool { (a.key, a.index) < (b.key, b.index) }
  }

  private let limit: Int
  private let best = Mutex<[Candidate]>([])

  init(limit: Int) { self.limit = limit }

  func add(_ candidates: [Candidate]) {
    let sorted = candidates.sorted().prefix(limit)
    best.withLock { best in
      best = Array((best + sorted).sorted().prefix(limit))
    }
  }

  var all: [Candidate] { best.withLock { $0 } }
}
