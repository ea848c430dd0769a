/// Which checkpoints of a run stay: a pure rule.
package struct RetentionPolicy: Equatable, Sendable {
  /// Never fewer verified generations are kept, whatever the configuration says.
  package static let fewestGenerations = 2

  /// So many of the newest stay.
  package var newest: Int
  /// Every checkpoint whose step is a multiple of this stays.
  package var every: Int?
  /// So many with the lowest validation loss stay.
  package var best: Int

  package init(newest: Int, every: Int? = nil, best: Int = 0) {
    precondition(every.map { $0 > 0 } ?? true, "every so many steps means at least one")
    self.newest = newest
    self.every = every
    self.best = best
  }

  /// Whether the rule speaks of the checkpoint of a step, which therefore must be made.
  ///
  /// - Parameter isMeasured: whether the held-out loss of this very state is known.
  package func keeps(step: Int, isMeasured: Bool) -> Bool {
    isRegular(step) || best > 0 && isMeasured
  }

  private func isRegular(_ step: Int) -> Bool { every.map { step % $0 == 0 } ?? false }

  /// A published checkpoint, as far as the rule is concerned.
  package struct Candidate: Equatable, Sendable {
    package let step: Int
    package let validationLoss: Double?
    /// A later launch of the run has gone on from an earlier step: nobody will continue from here.
    package let isSuperseded: Bool

    package init(step: Int, validationLoss: Double? = nil, isSuperseded: Bool = false) {
      self.step = step
      self.validationLoss = validationLoss
      self.isSuperseded = isSuperseded
    }
  }

  /// The steps whose checkpoints may go, those first that a reader would take last.
  ///
  /// Nothing goes unless `fewestGenerations` verified ones stay that a reader takes before it.
  /// - Parameter isVerified: asked as seldom as possible, because it may read every byte.
  package func removable(
    _ candidates: [Candidate], isVerified: (Candidate) -> Bool
  ) -> [Int] {
    let ordered = candidates.sorted(by: RetentionPolicy.isPreferred)
    let kept = kept(ordered)
    var sound = 0
    var removable: [Int] = []
    for candidate in ordered {
      if sound >= RetentionPolicy.fewestGenerations {
        if !kept.contains(candidate.step) { removable.append(candidate.step) }
      } else if isVerified(candidate) {
        sound += 1
      }
    }
    return removable.reversed()
  }

  /// The order in which a reader tries checkpoints.
  static func isPreferred(_ one: Candidate, over other: Candidate) -> Bool {
    if one.isSuperseded != other.isSuperseded { return other.isSuperseded }
    return one.step > other.step
  }

  private func kept(_ ordered: [Candidate]) -> Set<Int> {
    let current = ordered.filter { !$0.isSuperseded }
    let newest = current.prefix(max(newest, RetentionPolicy.fewestGenerations)).map(\.step)
    let regular = current.map(\.step).filter(isRegular)
    let measured = current.compactMap { candidate in
      candidate.validationLoss.map { (loss: $0, step: candidate.step) }
    }
    // Of equal losses the later has seen more.
    let best = measured.sorted { $0.loss != $1.loss ? $0.loss < $1.loss : $0.step > $1.step }
    return Set(newest + regular + best.prefix(self.best).map(\.step))
  }
}
