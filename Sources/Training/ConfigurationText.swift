import Core

extension RunConfiguration {
  /// Every key with its value and its meaning, as a file that decodes to this configuration again.
  package var resolvedYAML: String {
    var lines: [String] = []
    func append(_ key: ConfigurationKey, indent: String) {
      lines.append("\(indent)# \(key.documentation)")
      lines.append("\(indent)\(key.name): \(key.text(self))")
    }
    for key in ConfigurationKey.all where key.group.isEmpty {
      append(key, indent: "")
    }
    for group in ConfigurationKey.groups {
      lines += ["", "# \(group.documentation)", "\(group.name):"]
      for key in ConfigurationKey.all where key.group == group.name {
        append(key, indent: "  ")
      }
    }
    return lines.joined(separator: "\n") + "\n"
  }

  /// A key that two configurations disagree on.
  package struct Difference: Equatable, Sendable, CustomStringConvertible {
    package let key: String
    package let saved: String
    package let now: String
    let effect: ConfigurationKey.Effect

    package var description: String { "\(key): \(saved) -> \(now)" }
  }

  /// The keys on which this configuration differs from a saved one, in the order of the file.
  package func differences(from saved: RunConfiguration) -> [Difference] {
    ConfigurationKey.all.compactMap { key in
      let (before, now) = (key.text(saved), key.text(self))
      guard before != now else { return nil }
      let endsSchedule = key.path == "train.steps" && scheduleEndsWithTraining
      return Difference(
        key: key.path, saved: before, now: now, effect: endsSchedule ? .schedule : key.effect)
    }
  }

  /// Checks that a run saved under `saved` may go on under this configuration.
  ///
  /// - Parameter takesSchedule: whether the learning rate may be another from here on.
  /// Returns: what changes of the learning rate.
  /// Throws: `Failure` (.configuration) listing what may not change as `key: saved -> now`.
  @discardableResult
  package func requireContinuation(
    of saved: RunConfiguration, at run: String, takesSchedule: Bool = false
  ) throws(Failure) -> [Difference] {
    let differences = differences(from: saved)
    let schedule = differences.filter { $0.effect == .schedule }
    let refused = differences.filter {
      $0.effect == .binding || $0.effect == .schedule && !takesSchedule
    }
    guard refused.isEmpty else {
      let list = refused.map(\.description).joined(separator: ", ")
      let isOnlySchedule = refused.allSatisfy { $0.effect == .schedule }
      throw Failure(
        .configuration,
        "\(run): a run keeps what decides its steps, but these changed: \(list); change them back,"
          + (isOnlySchedule ? " go on with another learning rate by --new-schedule," : "")
          + " or start a new run directory")
    }
    return schedule
  }

  /// Linear and cosine reach their end at the last step, so another end is another schedule.
  private var scheduleEndsWithTraining: Bool {
    schedule.kind == .linear || schedule.kind == .cosine
  }
}
