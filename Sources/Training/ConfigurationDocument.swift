import Core
import Foundation
import Yams

/// One value of a configuration file: a dotted path, the text, and the line it stands in.
package struct ConfigurationEntry: Equatable, Sendable {
  package let path: String
  let scalar: ScalarText
  let line: Int
}

/// A configuration file as a flat list of values: YAML reduced to groups of `key: value`.
///
/// What a configuration has no use for is refused: sequences, anchors, aliases, tags, second
/// documents. A hostile file is refused before it costs time or stack.
package struct ConfigurationDocument {
  /// A hundred times a configuration with every key and its comment.
  package static let byteLimit = 64 << 10
  /// What the parser may be asked to make of a file; a whole configuration has 200 nodes.
  package static let nodeLimit = 4096
  static let depthLimit = 8
  /// Bounds the nesting that a parser can meet in one line, since every block level takes a column.
  private static let lineByteLimit = 1000
  private static let bracketLimit = 256
  /// Aliases of aliases multiply: a few cannot explode, and then they are refused with their line.
  private static let aliasLimit = 16

  package private(set) var entries: [ConfigurationEntry] = []
  private let name: String

  /// Throws: `Failure` (.configuration) naming `name` and the line.
  package init(yaml: String, name: String) throws(Failure) {
    self.name = name
    try refuseCostlyText(yaml)
    let parser: Parser
    let root: Node?
    do {
      // Values get their types from their keys, never from how they look.
      parser = try Parser(yaml: yaml, resolver: .basic, encoding: .utf8)
      root = try parser.singleRoot()
    } catch {
      throw Self.failure(error, name: name)
    }
    // Anchors live as long as their parser, and only through them an alias can be told.
    try withExtendedLifetime(parser) { () throws(Failure) in
      guard let root, !isEmpty(root) else { return }
      try refuseExtras(root)
      guard case .mapping(let mapping) = root else {
        throw failure(at: root, "expected groups of 'key: value'")
      }
      try collect(mapping, prefix: "", depth: 1)
    }
  }

  // MARK: - Before parsing

  /// Places where a node can begin: behind a line's end or an indicator. No parser finds more than
  /// two nodes (a group and its first key) at one.
  package static func nodeBound(_ yaml: String) -> Int {
    yaml.utf8.reduce(1) { $0 + ("\n\r:,?-[{".utf8.contains($1) ? 1 : 0) }
  }

  private func refuseCostlyText(_ yaml: String) throws(Failure) {
    guard yaml.utf8.count <= Self.byteLimit else {
      throw Failure(
        .configuration,
        "\(name): a configuration of \(yaml.utf8.count) bytes, at most \(Self.byteLimit) are read")
    }
    guard Self.nodeBound(yaml) <= Self.nodeLimit else {
      throw Failure(
        .configuration,
        "\(name): has \(Self.nodeBound(yaml)) lines and indicators, at most "
          + "\(Self.nodeLimit) are read"
      )
    }
    var brackets = 0
    var aliases = 0
    var line = 1
    var lineByteCount = 0
    var previous = UInt8(ascii: "\n")
    for byte in yaml.utf8 {
      lineByteCount += 1
      switch byte {
      case UInt8(ascii: "\n"), UInt8(ascii: "\r"):
        if byte == UInt8(ascii: "\n") { line += 1 }
        lineByteCount = 0
      case UInt8(ascii: "["), UInt8(ascii: "{"): brackets += 1
      default:
        let couldStart = " \t\n\r[{,:?-".utf8.contains(previous)
        if byte == UInt8(ascii: "*") && couldStart { aliases += 1 }
      }
      previous = byte
      guard lineByteCount <= Self.lineByteLimit else {
        throw failure(line: line, "a line longer than \(Self.lineByteLimit) bytes")
      }
      guard brackets <= Self.bracketLimit else {
        throw failure(line: line, "more than \(Self.bracketLimit) brackets")
      }
      guard aliases <= Self.aliasLimit else {
        throw failure(line: line, "anchors and aliases are not allowed in a configuration")
      }
    }
  }

  // MARK: - After parsing

  private mutating func collect(
    _ mapping: Node.Mapping, prefix: String, depth: Int
  ) throws(Failure) {
    guard depth <= Self.depthLimit else {
      throw failure(
        line: mapping.mark?.line, "groups nested deeper than \(Self.depthLimit) levels")
    }
    for (key, value) in mapping {
      try refuseExtras(key)
      try refuseExtras(value)
      guard case .scalar(let keyScalar) = key, !keyScalar.string.isEmpty else {
        throw failure(at: key, "a key must be a name")
      }
      let path = prefix.isEmpty ? keyScalar.string : "\(prefix).\(keyScalar.string)"
      switch value {
      case .scalar(let scalar):
        guard !entries.contains(where: { $0.path == path }) else {
          throw failure(at: key, "the key '\(path)' appears more than once")
        }
        let isQuoted = scalar.style != .plain
        entries.append(
          ConfigurationEntry(
            path: path, scalar: ScalarText(text: scalar.string, isQuoted: isQuoted),
            line: key.mark?.line ?? 0))
      case .mapping(let group):
        if ConfigurationKey.byPath[path] != nil {
          throw failure(at: key, "'\(path)' takes a value, not a group of keys")
        }
        try collect(group, prefix: path, depth: depth + 1)
      case .sequence, .alias:
        throw failure(at: value, "'\(path)' takes no list")
      }
    }
  }

  private func refuseExtras(_ node: Node) throws(Failure) {
    guard node.anchor == nil else {
      throw failure(at: node, "anchors and aliases are not allowed in a configuration")
    }
    // Quoted text arrives tagged as text; so does a key that was compared with its neighbours.
    let isPlain =
      switch node {
      case .scalar(let scalar): scalar.tag == .implicit || scalar.tag == Tag(.str)
      case .mapping(let mapping): mapping.tag == .implicit
      case .sequence(let sequence): sequence.tag == .implicit
      case .alias: false
      }
    guard isPlain else { throw failure(at: node, "tags are not allowed in a configuration") }
  }

  private func isEmpty(_ root: Node) -> Bool {
    guard case .scalar(let scalar) = root else { return false }
    return scalar.string.isEmpty
  }

  // MARK: - Failures

  private func failure(at node: Node, _ message: String) -> Failure {
    failure(line: node.mark?.line, message)
  }

  private func failure(line: Int?, _ message: String) -> Failure {
    Failure(.configuration, "\(name)\(line.map { ":\($0)" } ?? ""): \(message)")
  }

  private static func failure(_ error: any Error, name: String) -> Failure {
    switch error as? YamlError {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
      .composer(_, let problem, let mark, _):
      return Failure(.configuration, "\(name):\(mark.line): not valid YAML: \(problem)")
    case .duplicatedKeysInMapping(let duplicates, let context):
      let key = duplicates.first ?? ""
      return Failure(
        .configuration, "\(name):\(context.mark.line): the key '\(key)' appears more than once")
    case .reader(let problem, _, _, _):
      return Failure(.configuration, "\(name): not valid YAML: \(problem)")
    default:
      return Failure(.configuration, "\(name): not valid YAML")
    }
  }
}
