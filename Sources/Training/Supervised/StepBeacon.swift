import Core
import Synchronization

/// What a rank is doing, for whoever watches how long it takes.
package enum RankActivity: Int, Sendable, CaseIterable {
  /// Finding the other ranks, reading data, verifying and loading a checkpoint.
  case starting
  case training
  case evaluating
  case saving
  /// Nothing is left to do but to leave, for whatever reason but the next one.
  case ended
  /// The last step of the run is done and saved.
  case finished

  /// True of a rank that says no more.
  package var isOver: Bool { self == .ended || self == .finished }
}

/// Where this process stands, readable at any moment by a thread that shares no lock with training.
package enum StepBeacon {
  private static let step = Atomic<Int>(0)
  private static let savedStep = Atomic<Int>(-1)
  private static let resumedStep = Atomic<Int>(-1)
  private static let activity = Atomic<Int>(RankActivity.starting.rawValue)
  private static let work = Atomic<Int>(0)
  private static let saveMilliseconds = Atomic<Int>(-1)
  private static let exitCode = Atomic<Int>(-1)

  /// A step is done, on this rank.
  package static func mark(step number: Int) {
    step.store(number, ordering: .relaxed)
    set(.training)
  }

  /// Training begins after a step; nil when this rank was not told which. Rank 0 knows.
  package static func began(after number: Int?) {
    if let number {
      step.store(number, ordering: .relaxed)
      resumedStep.store(number, ordering: .relaxed)
    }
    set(.training)
  }

  /// A checkpoint was published, so many seconds after its save had begun.
  package static func saved(step number: Int, seconds: Double) {
    savedStep.store(number, ordering: .relaxed)
    saveMilliseconds.store(Int(min(seconds, 1e6) * 1000), ordering: .relaxed)
    work.wrappingAdd(1, ordering: .relaxed)
  }

  /// This rank is about to leave with a code.
  package static func leave(_ code: ExitCode) {
    exitCode.store(Int(code.rawValue), ordering: .relaxed)
    set(code == .success ? .finished : .ended)
  }

  package static func set(_ now: RankActivity) {
    activity.store(now.rawValue, ordering: .relaxed)
    work.wrappingAdd(1, ordering: .relaxed)
  }

  /// All of it; the parts may be of moments that lie a few instructions apart.
  package static var reading: Reading {
    Reading(
      step: step.load(ordering: .relaxed), savedStep: savedStep.load(ordering: .relaxed),
      resumedStep: resumedStep.load(ordering: .relaxed),
      activity: RankActivity(rawValue: activity.load(ordering: .relaxed)) ?? .training,
      work: work.load(ordering: .relaxed),
      saveMilliseconds: saveMilliseconds.load(ordering: .relaxed),
      exitCode: exitCode.load(ordering: .relaxed))
  }

  package struct Reading: Equatable, Sendable {
    package var step = 0
    /// -1 where this rank has published nothing.
    package var savedStep = -1
    /// -1 where this rank was not told.
    package var resumedStep = -1
    package var activity = RankActivity.starting
    /// Grows with every sign of progress.
    package var work = 0
    /// How long the last published save took; -1 where this rank has published nothing.
    package var saveMilliseconds = -1
    /// What this rank leaves with; -1 while it stays.
    package var exitCode = -1

    package init() {}

    init(
      step: Int, savedStep: Int, resumedStep: Int, activity: RankActivity, work: Int,
      saveMilliseconds: Int, exitCode: Int
    ) {
      self.step = step
      self.savedStep = savedStep
      self.resumedStep = resumedStep
      self.activity = activity
      self.work = work
      self.saveMilliseconds = saveMilliseconds
      self.exitCode = exitCode
    }
  }
}
