import Core
import Training

/// Counts what a run's launches died of since they last got anywhere.
struct RestartLedger: Sendable {
  /// Deaths since the last new checkpoint.
  private(set) var failures = 0
  /// Deaths in all.
  private(set) var total = 0
  private var identical = 0
  private var last: Death?
  /// The newest checkpoint that is accounted for; nil until one is known.
  private var savedStep: Int?

  /// Takes note of what the run had when it was first heard of, which is nobody's progress; later
  /// calls change nothing.
  mutating func begin(at step: Int) { savedStep = savedStep ?? step }

  /// Takes a death into account; a checkpoint newer than at the death before refills the budget.
  ///
  /// - Parameter resolution: how far apart two deaths at one step may seem, as signs of life come
  ///   less often than steps.
  mutating func note(_ death: Death, savedStep saved: Int?, resolution: Int) {
    if let saved, let known = savedStep, saved > known {
      savedStep = saved
      failures = 0
      identical = 0
    }
    failures += 1
    total += 1
    let isSame =
      last.map { before in
        before.cause == death.cause && Self.isSamePlace(before, death)
          && (before.step == nil) == (death.step == nil)
          && abs((before.step ?? 0) - (death.step ?? 0)) <= resolution
      } ?? false
    identical = isSame && identical > 0 ? identical + 1 : 1
    last = death
  }

  /// Which of a host's ranks the kernel ends where a job's limit is reached is chance.
  private static func isSamePlace(_ a: Death, _ b: Death) -> Bool {
    a.cause == .outOfMemory(.job) ? a.host == b.host : a.rank == b.rank
  }

  /// Nil when another try is worth it.
  func verdict(after death: Death, _ policy: SupervisorPolicy) -> Verdict? {
    if death.cause.mayBeDeterministic, identical >= policy.identicalDeaths {
      return Verdict(
        .deterministic(death.cause, times: identical), exitCode: Self.code(for: death))
    }
    guard failures > policy.restartBudget else { return nil }
    return Verdict(
      .budgetSpent(death.cause, restarts: policy.restartBudget), exitCode: Self.code(for: death))
  }

  /// The code a rank ended with where it has a meaning of its own; else whether anything ever ran.
  private static func code(for death: Death) -> ExitCode {
    switch death.cause {
    case .exit(let number):
      if let code = ExitCode(rawValue: number), code == .inputOutput || code == .internal {
        return code
      }
      return death.step == nil ? .unavailable : .internal
    case .launchFailed(let code, _): return code
    case .hostsMissing, .startTimeout: return .unavailable
    default: return .internal
    }
  }
}

extension Cause {
  /// True for a code by which a rank says what it has said in words already.
  var isRanksOwn: Bool {
    if case .exit(let code) = self, let known = ExitCode(rawValue: code) {
      return known != .different
    }
    return false
  }

  /// False for what comes from outside of the program.
  var mayBeDeterministic: Bool {
    switch self {
    case .hostLost, .launcherSignal, .silent, .hostsMissing, .launchFailed, .stoppedNow, .fenced:
      false
    // The launcher's own codes, of which no rank has said a word.
    case .unexplained, .exit(255): false
    case .finished, .stopped, .unsaved: false
    case .exit, .signal, .outOfMemory, .stalled, .startTimeout, .slowEnd: true
    }
  }
}
