import Foundation
import Synchronization

/// A named place in a run where a test can make one rank misbehave, at an exact step: killed,
/// frozen, with a bit of its memory flipped.
///
/// `LOCKSTEP_FAULT=point:step:rank:action`, several separated by commas; rank -1 is every rank,
/// step -1 the first that comes, and `@N` behind the action lets it happen in the N-th launch of
/// the run only. Each happens once a process and says so on stderr first. Cost without the
/// variable: one load.
package enum FaultPoint: String, CaseIterable, Sendable {
  /// Before anything of the run is opened; its step is 0.
  case start
  /// After the micro-batches of a step have been read.
  case load
  /// Before the first forward pass of a step.
  case forward
  /// Before the first backward pass of a step.
  case backward
  /// When the first gradients of a step are handed to the exchange.
  case exchange
  /// Between the new weights and the moment in which all ranks of a node see them.
  case update
  /// Before the validation loss is measured after a step.
  case evaluate
  /// Before the state after a step is saved.
  case save
  /// Before this rank writes its part of a checkpoint.
  case write
  /// When every part of a checkpoint is on disk and none can be seen; on rank 0.
  case publish

  /// What the caller does itself, because only it can.
  package enum Effect: String, CaseIterable, Sendable {
    /// Leave the collective operation out.
    case skip
    /// Make the gradient not a number.
    case nan
  }

  /// One entry of the variable.
  package struct Fault: Equatable, Sendable {
    package enum Action: Equatable, Sendable {
      /// SIGSTOP: whoever looks for a stopped process finds it exactly here.
      case stop
      /// SIGKILL.
      case kill
      /// The end of the process with a code, without a word to MPI.
      case exit(Int32)
      /// What a broken precondition does.
      case trap
      /// Busy for ever, without progress.
      case spin
      /// One bit of a weight in this rank's memory.
      case flip
      case effect(Effect)
    }

    package let point: FaultPoint
    /// -1 is the first that comes.
    package let step: Int
    /// -1 is every rank.
    package let rank: Int
    package let action: Action
    /// Of the run, from 1; nil is each.
    package let incarnation: Int?
  }

  private struct State {
    var faults: [Fault] = []
    var flip: (@Sendable () -> Void)?
  }

  private static let isArmed = Atomic<Bool>(false)
  private static let state = Mutex(State())

  /// Acts if the environment says so; the result is for the caller to carry out.
  @discardableResult
  package func reached(step: Int) -> Effect? {
    guard Self.isArmed.load(ordering: .relaxed) else { return nil }
    return act(step: step)
  }

  /// Takes from `LOCKSTEP_FAULT` what concerns this rank and launch.
  ///
  /// Throws: `Failure` (.usage) for an entry that is none.
  package static func arm(rank: Int, incarnation: () -> Int) throws(Failure) {
    guard let text = ProcessInfo.processInfo.environment["LOCKSTEP_FAULT"], !text.isEmpty else {
      return
    }
    let launch = incarnation()
    let faults = try parse(text).filter { fault in
      [-1, rank].contains(fault.rank) && [nil, launch].contains(fault.incarnation)
    }
    state.withLock { $0.faults = faults }
    isArmed.store(!faults.isEmpty, ordering: .relaxed)
  }

  /// Says how `flip` is done, once there are weights.
  package static func setFlip(_ flip: @escaping @Sendable () -> Void) {
    state.withLock { $0.flip = flip }
  }

  private func act(step: Int) -> Effect? {
    let (fault, flip) = Self.state.withLock { state -> (Fault?, (@Sendable () -> Void)?) in
      guard
        let index = state.faults.firstIndex(where: {
          $0.point == self && [-1, step].contains($0.step)
        })
      else { return (nil, nil) }
      return (state.faults.remove(at: index), state.flip)
    }
    guard let fault else { return nil }
    StandardError.say("fault point \(rawValue), step \(step): \(fault.action)")
    switch fault.action {
    case .stop: raise(SIGSTOP)
    case .kill: raise(SIGKILL)
    case .exit(let code): exit(code)
    case .trap: preconditionFailure("LOCKSTEP_FAULT asked for it")
    case .spin: while Self.isArmed.load(ordering: .relaxed) {}
    case .flip: flip?()
    case .effect(let effect): return effect
    }
    return nil
  }
}

extension FaultPoint {
  /// The entries of the variable.
  package static func parse(_ text: String) throws(Failure) -> [Fault] {
    var faults: [Fault] = []
    for entry in text.split(separator: ",") {
      guard let fault = fault(String(entry)) else {
        throw Failure(
          .usage,
          "LOCKSTEP_FAULT: expected point:step:rank:action with an optional @launch, found"
            + " '\(entry)'; Sources/Guide/Failure.md lists points and actions")
      }
      faults.append(fault)
    }
    return faults
  }

  private static func fault(_ entry: String) -> Fault? {
    let halves = entry.split(separator: "@", omittingEmptySubsequences: false)
    let words = halves[0].split(separator: ":", omittingEmptySubsequences: false).map(String.init)
    let incarnation = halves.count == 2 ? Int(halves[1]) : nil
    guard halves.count <= 2, (halves.count == 2) == (incarnation != nil), words.count >= 4,
      let point = FaultPoint(rawValue: words[0]), let step = Int(words[1]),
      let rank = Int(words[2]), step >= -1, rank >= -1,
      let action = action(Array(words[3...])),
      isPossible(action, at: point)
    else { return nil }
    return Fault(point: point, step: step, rank: rank, action: action, incarnation: incarnation)
  }

  private static func action(_ words: [String]) -> Fault.Action? {
    if words.count == 2, words[0] == "exit", let code = Int32(words[1]) { return .exit(code) }
    guard words.count == 1 else { return nil }
    switch words[0] {
    case "stop": return .stop
    case "kill": return .kill
    case "trap": return .trap
    case "spin": return .spin
    case "flip": return .flip
    default: return Effect(rawValue: words[0]).map { .effect($0) }
    }
  }

  private static func isPossible(_ action: Fault.Action, at point: FaultPoint) -> Bool {
    switch action {
    case .effect(.skip): [.exchange, .evaluate].contains(point)
    case .effect(.nan): point == .backward
    case .flip: point != .start
    default: true
    }
  }
}

extension FaultPoint.Fault.Action: CustomStringConvertible {
  /// As in the variable.
  package var description: String {
    switch self {
    case .stop: "stop"
    case .kill: "kill"
    case .exit(let code): "exit:\(code)"
    case .trap: "trap"
    case .spin: "spin"
    case .flip: "flip"
    case .effect(let effect): effect.rawValue
    }
  }
}
