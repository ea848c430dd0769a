/// Elapsed seconds on the monotonic clock, which no change of the wall time moves.
package struct Stopwatch: Sendable {
  private let start: ContinuousClock.Instant

  package init() { start = ContinuousClock.now }

  /// Seconds since the stopwatch was made.
  package var seconds: Double {
    let elapsed = start.duration(to: ContinuousClock.now).components
    return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
  }
}
