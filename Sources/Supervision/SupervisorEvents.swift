import Core
import Training

extension SupervisorRecord {
  /// The fields of its line in `events.jsonl`.
  package func fields(_ hosts: [JobHost]) -> [JSONValue.Field] {
    func integer(_ value: Int?) -> JSONValue { value.map { .integer($0) } ?? .null }
    func name(_ host: Int?) -> JSONValue {
      host.map { hosts.indices.contains($0) ? .string(hosts[$0].name) : .null } ?? .null
    }
    switch self {
    case .launch(_, let plan):
      let used = zip(hosts, plan.ranksByHost).filter { $1 > 0 }
      return [
        .init("what", .string("launch")), .init("ranks", .integer(plan.ranks)),
        .init("hosts", .array(used.map { .string("\($0.0.name):\($0.1)") })),
      ]
    case .death(let death):
      return [
        .init("what", .string("death")), .init("cause", .string(death.cause.text)),
        .init("rank", integer(death.rank)), .init("host", name(death.host)),
        .init("step", integer(death.step)), .init("resumed_step", integer(death.resumedStep)),
        .init("detect_seconds", .number(rounded(death.secondsToDetect))),
      ]
    case .restart(let seconds, let attempt, let saved):
      return [
        .init("what", .string("restart")), .init("after_seconds", .number(rounded(seconds))),
        .init("attempt", .integer(attempt)), .init("saved_step", integer(saved)),
      ]
    case .recovered(_, let seconds, let resumed, let repeated):
      return [
        .init("what", .string("recovered")), .init("seconds", .number(rounded(seconds))),
        .init("resumed_step", .integer(resumed)), .init("steps_repeated", .integer(repeated)),
      ]
    case .leftOut(let silent):
      return [
        .init("what", .string("left_out")),
        .init("hosts", .array(silent.map { name($0.host) })),
        .init("reasons", .array(silent.map { .string($0.reason) })),
      ]
    case .timeIsUp(let seconds):
      return [
        .init("what", .string("time_is_up")), .init("seconds_left", .number(rounded(seconds))),
      ]
    case .verdict(let verdict):
      return [
        .init("what", .string("verdict")), .init("exit_code", .integer(Int(verdict.exitCode))),
        .init("reason", .string(verdict.text)), .init("saved_step", integer(verdict.savedStep)),
      ]
    }
  }

  /// One sentence for the terminal; nil for what is no news there.
  package func sentence(_ hosts: [JobHost]) -> String? {
    func names(_ indices: [Int]) -> String {
      indices.filter(hosts.indices.contains).map { hosts[$0].name }.joined(separator: ", ")
    }
    switch self {
    case .launch(let incarnation, let plan):
      return incarnation == 1 ? nil : "launch \(incarnation) on \(plan.ranks) ranks"
    case .death(let death) where death.incarnation == 0:
      return "there was no launch: \(death.cause.text)"
    case .death(let death):
      let rank = death.rank.map { "rank \($0) on" } ?? (death.host == nil ? "the job" : "host")
      let host = death.host.map { " \(names([$0]))" } ?? ""
      let step = death.step.map { " at step \($0)" } ?? " before its first step"
      return "launch \(death.incarnation) ended: \(rank)\(host)\(step): \(death.cause.text)"
    case .restart(let seconds, _, let saved):
      let place = saved ?? 0 > 0 ? "going on after step \(saved ?? 0)" : "beginning again"
      return "\(place) in \(rounded(seconds)) s"
    case .recovered(_, let seconds, let resumed, let repeated):
      return
        "recovered in \(rounded(seconds)) s after step \(resumed), \(repeated) steps repeated"
    case .leftOut(let silent):
      let hosts = silent.map { "\(names([$0.host])) (\($0.reason))" }
      return "without an answer: \(hosts.joined(separator: "; "))"
    case .timeIsUp(let seconds):
      return "the job ends in \(Int(seconds)) s: saving and stopping"
    case .verdict(let verdict): return verdict.exitCode == 0 ? nil : verdict.text
    }
  }

  private func rounded(_ value: Double) -> Double { (value * 100).rounded() / 100 }
}

extension Verdict {
  /// What happened and what to do, in a sentence.
  package var text: String {
    switch reason {
    case .finished: "all steps are done"
    case .stopped(let standing, _): standing.stopText
    case .unsaved(let standing):
      "stopped, but the last state could not be saved: the same command goes back to step"
        + " \(standing.savedStep)"
    case .final(let code): "a rank ended with code \(code.rawValue), which a restart would repeat"
    case .deterministic(.outOfMemory(let owner), let times):
      "given up: died \(times) times at the same place, as \(owner.spentText); fewer ranks a"
        + " host, more stages or smaller micro-batches need less; every saved checkpoint is intact"
    case .deterministic(let cause, let times):
      "given up: died \(times) times in the same way at the same place (\(cause.text)),"
        + " which no restart heals; every saved checkpoint is intact, see logs/"
    case .budgetSpent(let cause, let restarts):
      "given up after \(restarts) restarts without a new checkpoint (last: \(cause.text));"
        + " every saved checkpoint is intact, the same command tries again"
    case .launchFailed(let failure): failure.message
    case .fenced: "another supervisor has taken over this run; nothing is left of this one"
    }
  }
}

extension Verdict {
  /// Where the run stands after a stop; nil after other ends.
  package var savedStep: Int? {
    switch reason {
    case .stopped(let standing, _), .unsaved(let standing): standing.savedStep
    default: nil
    }
  }
}

extension Standing {
  /// What a stop leaves, and what the same command does then.
  fileprivate var stopText: String {
    if lostSteps > 0 {
      let lost = lostSteps == 1 ? "step \(step)" : "steps \(savedStep + 1) to \(step)"
      return "stopped without saving \(lost): the same command goes back to step \(savedStep)"
    }
    return savedStep == 0
      ? "stopped before anything was done: the same command begins at step 0"
      : "stopped; step \(savedStep) is saved, the same command goes on from there"
  }
}

/// The launches of a run that died, as a table for the end.
package struct IncidentTable: Equatable, Sendable {
  private struct Row: Equatable, Sendable {
    var death: Death
    var recoverySeconds: Double?
    var resumedStep: Int?
    var repeated: Int?
  }

  private let hosts: [JobHost]
  private var rows: [Row] = []

  package init(hosts: [JobHost]) { self.hosts = hosts }

  package mutating func take(_ record: SupervisorRecord) {
    switch record {
    case .death(let death): rows.append(Row(death: death))
    case .recovered(_, let seconds, let resumed, let repeated):
      guard !rows.isEmpty else { return }
      rows[rows.count - 1].recoverySeconds = seconds
      rows[rows.count - 1].resumedStep = resumed
      rows[rows.count - 1].repeated = repeated
    default: return
    }
  }

  /// Nothing when nothing died.
  package var lines: [String] {
    guard !rows.isEmpty else { return [] }
    let heads = [
      "launch", "cause", "rank", "host", "step", "resumed at", "detected", "recovered", "repeated",
    ]
    let cells = [heads] + rows.map(words)
    let widths = heads.indices.map { column in cells.map { $0[column].count }.max() ?? 0 }
    return cells.map { row in
      zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }
        .joined(separator: "  ").trimmingSuffix { $0 == " " }
    }
  }

  private func words(_ row: Row) -> [String] {
    func text(_ value: Int?) -> String { value.map { "\($0)" } ?? "-" }
    func seconds(_ value: Double?) -> String {
      value.map { "\(($0 * 10).rounded() / 10) s" } ?? "-"
    }
    let host = row.death.host.flatMap { hosts.indices.contains($0) ? hosts[$0].name : nil }
    return [
      row.death.incarnation == 0 ? "-" : "\(row.death.incarnation)", row.death.cause.text,
      text(row.death.rank), host ?? "-", text(row.death.step), text(row.resumedStep),
      seconds(row.death.secondsToDetect), seconds(row.recoverySeconds), text(row.repeated),
    ]
  }
}

extension String {
  fileprivate func trimmingSuffix(_ isDropped: (Character) -> Bool) -> String {
    var result = self
    while let last = result.last, isDropped(last) { result.removeLast() }
    return result
  }
}
