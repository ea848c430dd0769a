/// When a run saves.
package enum SaveInterval: Equatable, Sendable {
  /// At every multiple of so many steps: a pure function of the step.
  case steps(Int)
  /// After so many seconds since the last save.
  case seconds(Double)
  /// As often as costs least: time spent saving against time lost by failures.
  case automatic
}

/// Decides when the next save is due, from what saves have cost: a pure value without a clock of
/// its own.
///
/// With `.seconds` and `.automatic` the answer depends on this process's clock: one rank asks and
/// tells the others through the step's agreement.
package struct SaveCadence: Equatable, Sendable {
  /// Bounds of the automatic interval: seldom enough not to matter, often enough to lose little.
  package static let automaticSeconds = 30.0...3600.0
  /// What is assumed of any cluster: a failure a day.
  package static let assumedSecondsBetweenFailures = 86_400.0
  /// A disk that takes long must not be saving all the time.
  private static let shortestIntervalInSaves = 2.0
  /// How much a new measurement counts against those before it.
  private static let weightOfLatest = 0.3

  package let interval: SaveInterval
  private var lastSaveSeconds: Double
  /// What a save takes from training.
  private var costSeconds: Double?
  /// How long a save is under way.
  private var durationSeconds = 0.0

  /// - Parameter start: the present time on the clock the other methods are given.
  package init(_ interval: SaveInterval, start: Double = 0) {
    self.interval = interval
    lastSaveSeconds = start
  }

  /// Whether a save is due after a step.
  package func isDue(step: Int, now: Double) -> Bool {
    switch interval {
    case .steps(let count): step % count == 0
    case .seconds(let seconds): now - lastSaveSeconds >= seconds
    case .automatic: now - lastSaveSeconds >= automaticInterval(now: now)
    }
  }

  /// Notes a save that has begun, whoever asked for it.
  package mutating func began(now: Double) { lastSaveSeconds = now }

  /// Notes what a save has cost: seconds that training waited, and that it took in all.
  package mutating func measured(costSeconds cost: Double, durationSeconds duration: Double) {
    let weight = costSeconds == nil ? 1 : SaveCadence.weightOfLatest
    costSeconds = (costSeconds ?? 0) * (1 - weight) + cost * weight
    durationSeconds = durationSeconds * (1 - weight) + duration * weight
  }

  /// sqrt(2 C M), C the cost of a save, M the mean time between failures, within bounds.
  ///
  /// Source: Young, 1974, "A first order approximation to the optimum checkpoint interval", equal
  /// to Daly's (2006) for C much smaller than M. M is the time of this launch and a day in which
  /// one failure is assumed: a launch that lasts has met none.
  package func automaticInterval(now: Double) -> Double {
    let between = now + SaveCadence.assumedSecondsBetweenFailures
    let best = (2 * (costSeconds ?? 0) * between).squareRoot()
    let bounds = SaveCadence.automaticSeconds
    let bounded = min(max(best, bounds.lowerBound), bounds.upperBound)
    return max(bounded, durationSeconds * SaveCadence.shortestIntervalInSaves)
  }
}
