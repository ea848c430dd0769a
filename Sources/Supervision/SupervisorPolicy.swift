import Core
import Training

/// Every limit and deadline of the supervisor, in seconds where it is a time.
package struct SupervisorPolicy: Equatable, Sendable {
  /// A rank that is silent for so long is dead, frozen or cut off: nine signs of life are missing,
  /// and it is noticed within five seconds.
  package var livenessSeconds = 4.5
  /// No step for so long is a hang, unless steps are known to be slower.
  package var stallFloorSeconds = 10.0
  /// … or so many times the 99th percentile of measured step times.
  package var stallFactor = 5.0
  /// A step so short raises no limit, whatever was in it beside.
  var harmlessStepSeconds: Double { stallFloorSeconds / stallFactor }
  /// mpirun's keep-alive: so long without a word before it asks a daemon, and between two askings;
  /// the second one without an answer is the last.
  var keepAliveSeconds: (idle: Int, probe: Int) {
    (max(2, Int(livenessSeconds / 2)), max(1, Int(livenessSeconds / 4)))
  }
  /// Every rank must have given a sign of life so long after the launch.
  package var startSeconds = 90.0
  /// What has no measured time may take so long: loading, the first step, validation, a save.
  package var patienceSeconds = 900.0
  /// mpirun must end so long after the first rank said that it is through.
  package var leaveSeconds = 60.0
  /// Signals to stop that come so soon after another are the same request.
  package var sameRequestSeconds = 1.0
  /// Between SIGTERM and SIGKILL.
  package var terminateSeconds = 3.0
  /// After SIGKILL mpirun counts as gone even if the kernel has not said so.
  package var killSeconds = 10.0
  /// A host that has not answered by then does not answer.
  package var answerSeconds = 8.0
  /// What asks the hosts is itself given up after so long.
  package var probeSeconds: Double { answerSeconds + 12 }
  package var reapSeconds: Double { answerSeconds + 22 }
  /// An answer of the hosts that is so young need not be asked for again.
  package var answerAgeSeconds = 5.0
  /// Time between two looks above which the supervisor itself was stopped, not the ranks.
  package var suspensionSeconds = 2.0
  /// Restarts without a new checkpoint; a new one refills the budget.
  package var restartBudget = 5
  /// So many deaths of one cause at one step are a program error that no restart heals.
  package var identicalDeaths = 3
  package var shortestDelay = 0.25
  package var longestDelay = 60.0
  /// When the job of a scheduler is over, on the supervisor's clock; nil where no end is known.
  package var endsAt: Double?
  /// What is needed behind the last save: mpirun's end, clearing up, a word to the scheduler. A
  /// job of minutes has less to spare.
  var leaveMarginSeconds: Double { min(15, 0.125 * (endsAt ?? .infinity)) }
  /// Where nothing was measured yet.
  var presumedStepSeconds: Double { min(10, 0.05 * (endsAt ?? .infinity)) }
  var presumedSaveSeconds: Double { min(20, 0.1 * (endsAt ?? .infinity)) }
  /// A launcher that does not end so long after it has said that a rank did is ended.
  package var lingerSeconds = 1.0
  /// So many are wanted; hosts beyond them are spare.
  package var ranks = Int.max
  /// Fewer ranks than this are not worth starting.
  package var minimumRanks = 1
  /// Of the jitter of delays.
  package var seed: UInt64 = 1

  package init() {}

  /// How long before the end of its job a run has to be told to stop: twice what a step and the
  /// longest save were measured to take, the longest validation, which may lie between the two, and
  /// a margin.
  func secondsToStop(step: Double?, save: Double?, evaluation: Double) -> Double {
    2 * ((step ?? presumedStepSeconds) + (save ?? presumedSaveSeconds)) + evaluation
      + leaveMarginSeconds
  }

  /// Before the n-th restart without progress, from 1: four times the one before, from the shortest
  /// to the longest, times a random half to whole, so that jobs that died together do not return
  /// together. One death costs next to nothing; five outlast what comes and goes in a minute.
  func delay(attempt: Int, draw: Int) -> Double {
    let grown = shortestDelay * Double(1 << min(2 * max(0, attempt - 1), 20))
    let stream = RandomStream(seed: seed, purpose: .sampling, site: 0)
    return min(longestDelay, grown) * (0.5 + 0.5 * stream.uniform(at: draw))
  }
}

/// How long the steps of a run take, and so how long without one is too long.
package struct StepTimes: Equatable, Sendable {
  private static let capacity = 128
  private var seconds: [Double] = []
  private var next = 0
  private(set) var percentile99: Double?

  package init() { seconds.reserveCapacity(Self.capacity) }

  package mutating func add(_ sample: Double) {
    if seconds.count < Self.capacity {
      seconds.append(sample)
    } else {
      seconds[next] = sample
      next = (next + 1) % Self.capacity
    }
    // At most 128 samples: the percentile is the largest or, from 101 on, the second largest.
    var (first, second) = (0.0, 0.0)
    for value in seconds {
      if value > first {
        (first, second) = (value, first)
      } else if value > second {
        second = value
      }
    }
    percentile99 = seconds.count > 100 ? second : first
  }

  /// How many steps may lie between two signs of life, and one.
  var stepsPerBeat: Int {
    guard !seconds.isEmpty else { return 1 }
    let mean = seconds.reduce(0, +) / Double(seconds.count)
    return 1 + Int(min(1e6, 2 * Heartbeat.intervalSeconds / max(mean, 1e-6)))
  }

  /// Nil while nothing was measured.
  package func stallLimit(_ policy: SupervisorPolicy) -> Double? {
    percentile99.map { max(policy.stallFloorSeconds, policy.stallFactor * $0) }
  }
}
