import Core
import Foundation
import Testing

/// Histories of faults from seeds: `LOCKSTEP_HISTORIES=100000` runs more of them,
/// `LOCKSTEP_HISTORY_SEED=7` the one that failed.
@Suite struct SimulationTests {
  private static let environment = ProcessInfo.processInfo.environment
  private static let count = environment["LOCKSTEP_HISTORIES"].flatMap(UInt64.init) ?? 20_000

  @Test func everyGuaranteeHoldsInEveryHistory() {
    let only = Self.environment["LOCKSTEP_HISTORY_SEED"].flatMap(UInt64.init)
    var eventCount = 0
    for seed in only.map({ $0...$0 }) ?? 1...Self.count {
      var history = Simulation(seed: seed)
      let violation = history.run()
      #expect(violation == nil, "LOCKSTEP_HISTORY_SEED=\(seed)")
      eventCount += history.eventCount
    }
    #expect(eventCount > 0)
  }

  @Test func aHistoryIsAFunctionOfItsSeed() {
    for seed in UInt64(1)...50 {
      var (first, second) = (Simulation(seed: seed), Simulation(seed: seed))
      #expect(first.run() == second.run())
      #expect(first.eventCount == second.eventCount)
    }
  }

  /// A harness that nothing can break proves nothing.
  @Test(arguments: Mutant.allCases)
  func aGuaranteeBrokenOnPurposeIsNoticed(mutant: Mutant) {
    let isNoticed = (UInt64(1)...20_000).contains { seed in
      var history = Simulation(seed: seed, mutant: mutant)
      return history.run() != nil
    }
    #expect(isNoticed)
  }
}
