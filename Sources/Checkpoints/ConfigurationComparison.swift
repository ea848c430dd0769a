/// What differs between the configurations two checkpoints were trained with.
enum ConfigurationComparison {
  /// Keys that say how a run was carried out, on which machines and how often it saved: no step
  /// depends on them.
  private static func isOfExecution(_ key: String) -> Bool {
    ["data.path", "train.log_every"].contains(key)
      || ["parallel.", "runtime.", "checkpoint.", "evaluation."].contains(where: key.hasPrefix)
  }

  /// Of a configuration; a made text of groups in groups would cost its length squared.
  private static let byteLimit = 64 << 10

  /// Keys with other values, apart by whether steps depend on them.
  ///
  /// - Parameters: two texts as `config.yaml` has them; nil where there is none.
  static func differences(
    _ first: String?, _ second: String?
  ) -> (deciding: [Comparison.Mismatch], execution: [Comparison.Mismatch]) {
    guard max(first?.utf8.count ?? 0, second?.utf8.count ?? 0) <= byteLimit else {
      func size(_ text: String) -> String {
        "\(text.utf8.count) bytes" + (text.utf8.count > byteLimit ? ", which are none" : "")
      }
      let whole = Comparison.Mismatch(
        name: "configuration", first: first.map(size), second: second.map(size))
      return (first == second ? [] : [whole], [])
    }
    let (a, b) = (values(first ?? ""), values(second ?? ""))
    let all = Set(a.keys).union(b.keys).sorted().filter { a[$0] != b[$0] }
      .map { Comparison.Mismatch(name: $0, first: a[$0], second: b[$0]) }
    return (all.filter { !isOfExecution($0.name) }, all.filter { isOfExecution($0.name) })
  }

  /// `group:` and indented `key: value` as `group.key`: the form a configuration is stored in.
  private static func values(_ yaml: String) -> [String: String] {
    var values: [String: String] = [:]
    var groups: [(indent: Int, name: String)] = []
    for line in yaml.split(whereSeparator: \.isNewline) {
      let indent = line.prefix { $0 == " " }.count
      let text = line.dropFirst(indent)
      guard !text.hasPrefix("#"), let colon = text.firstIndex(of: ":") else { continue }
      groups.removeAll { $0.indent >= indent }
      let name = String(text[..<colon])
      let value = text[text.index(after: colon)...].drop { $0 == " " }
      if value.isEmpty {
        groups.append((indent, name))
      } else {
        values[(groups.map(\.name) + [name]).joined(separator: ".")] = String(value)
      }
    }
    return values
  }
}
