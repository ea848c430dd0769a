/// What a rank tells the others about its part of a save: bits that are united over all ranks by
/// the agreement of a step, beside the bits others put there.
package struct SaveFlags: OptionSet, Sendable {
  package let rawValue: UInt64

  package init(rawValue: UInt64) { self.rawValue = rawValue }

  /// A save has begun on this rank: flags without it were united before and mean nothing for it.
  package static let underway = SaveFlags(rawValue: 1 << 61)
  /// The work of the present phase is not done.
  package static let busy = SaveFlags(rawValue: 1 << 62)
  /// The work of the present phase has failed.
  package static let failed = SaveFlags(rawValue: 1 << 63)
}

/// The order of a save on all ranks, as a pure value: every rank feeds it the same united flags and
/// so does the same thing in the same step.
///
///     idle ─begin─▶ preparing ─▶ writing ─▶ publishing ─▶ idle (published)
///                       └────────────┴───────────┴──▶ abandoning ─▶ idle (failed)
package struct SaveSequence: Equatable, Sendable {
  package enum Phase: Equatable, Sendable {
    case idle
    /// Rank 0 creates the file.
    case preparing
    /// Every rank writes what it owns.
    case writing
    /// Rank 0 writes the manifest and gives the folder its name.
    case publishing
    /// Rank 0 removes what was written.
    case abandoning
  }

  /// What follows on every rank; those with "ranks" are a collective call.
  package enum Action: Equatable, Sendable {
    case wait
    /// Another rank has failed: stop working on what will be thrown away.
    case cancel
    /// Give the draft of rank 0 to all ranks, then write.
    case shareDraftAmongRanks
    /// Bring the digests of all ranks to rank 0, then publish.
    case gatherPartsOfRanks
    /// Tell each other what failed, then clean up.
    case shareFailureAmongRanks
    case endPublished
    case endFailed
  }

  package private(set) var phase = Phase.idle

  package init() {}

  package mutating func begin() {
    precondition(phase == .idle, "a save is under way")
    phase = .preparing
  }

  /// Moves on once no rank is busy.
  package mutating func advance(_ united: SaveFlags) -> Action {
    guard phase != .idle, united.contains(.underway) else { return .wait }
    guard !united.contains(.busy) else { return united.contains(.failed) ? .cancel : .wait }
    switch phase {
    case .idle: return .wait
    case .abandoning:
      phase = .idle
      return .endFailed
    case _ where united.contains(.failed):
      phase = .abandoning
      return .shareFailureAmongRanks
    case .preparing:
      phase = .writing
      return .shareDraftAmongRanks
    case .writing:
      phase = .publishing
      return .gatherPartsOfRanks
    case .publishing:
      phase = .idle
      return .endPublished
    }
  }
}
