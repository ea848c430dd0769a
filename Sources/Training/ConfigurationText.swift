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
    /// The run cannot be continued with the new value.
    package let isBinding: Bool

    package var description: String { "\(key): \(saved) -> \(now)" }
  }

  /// The keys on which this configuration differs from a saved one, in the order of the file.
  package func differences(from saved: RunConfiguration) -> [Difference] {
    ConfigurationKey.all.compactMap { key in
      let (before, now) = (key.text(saved), key.text(self))
      guard before != now else { return nil }
      let endsSchedule = key.path == "train.steps" && scheduleEndsWithTraining
      return Difference(
        key: key.path, saved: before, now: now, isBinding: key.effect == .binding || endsSchedule)
    }
  }

  /// Checks that a run saved under `saved` may go on under this configuration.
  ///
  /// Throws: `Failure` (.configuration) listing every binding key as `key: saved -> now`.
  package func requireContinuation(of saved: RunConfiguration, at run: String) throws(Failure) {
    let binding = differences(from: saved).filter(\.isBinding)
    guard binding.isEmpty else {
      let list = binding.map(\.description).joined(separator: ", ")
      throw Failure(
        .configuration,
        "\(run): a run keeps what decides its steps, but these changed: \(list);"
          + " change them back or start a new run directory")
    }
  }

  /// Linear and cosine reach their end at the last step, so another end is another schedule.
  private var scheduleEndsWithTraining: Bool {
    schedule.kind == .linear || schedule.kind == .cosine
  }
}
