import Core
import HDF5

/// What differs between the numbers of two checkpoints, or of any two HDF5 files.
///
/// Numeric datasets are compared bit by bit; texts, attributes and what the configuration says of
/// the steps as they stand; the values of `/state` but for which launch of which run wrote them.
/// Provenance, and keys of the configuration that no step depends on, are shown and do not count.
package struct Comparison: Codable, Sendable {
  package struct Tensor: Codable, Sendable {
    package let path: String
    package let shape: [Int]
    package let difference: TensorDifference
    package let cosine: Double?
    package let norms: [Double]
  }

  /// Something that has no counterpart to compute with, in words.
  package struct Mismatch: Codable, Equatable, Sendable {
    package let name: String
    /// nil when it is absent.
    package let first: String?
    package let second: String?

    package init(name: String, first: String?, second: String?) {
      (self.name, self.first, self.second) = (name, first, second)
    }
  }

  package let first: String
  package let second: String
  package let isIdentical: Bool
  /// Datasets both have in the same shape, in the order of their names.
  package let tensors: [Tensor]
  /// Datasets that only one has, or of another shape or type.
  package let unmatched: [Mismatch]
  /// Values of `/state` that differ.
  package let state: [Mismatch]
  /// Keys of the configuration that steps depend on.
  package let configuration: [Mismatch]
  /// Attributes of other objects, and texts such as the order of the tensors.
  package let texts: [Mismatch]
  /// Where the numbers come from: no difference.
  package let provenance: [Mismatch]

  private enum CodingKeys: String, CodingKey {
    case first, second, tensors, unmatched, state, configuration, texts, provenance
    case isIdentical = "identical"
  }

  private static let ignoredState: Set<String> = ["incarnation", "run_identifier"]

  /// Compares two of: run directory (its newest checkpoint), checkpoint folder, HDF5 file.
  ///
  /// A checkpoint is verified first: a comparison with damaged bytes would mislead.
  /// Cost: reads every byte twice, two blocks of 4 MiB in memory.
  /// Throws: `Failure` (.missingInput, .badData) when one cannot be read whole.
  package init(of first: String, and second: String) throws(Failure) {
    (self.first, self.second) = (first, second)
    let one = try Comparison.open(first)
    let other = try Comparison.open(second)
    let ours = try Comparison.datasets(one)
    let theirs = try Comparison.datasets(other)
    var tensors: [Tensor] = []
    var unmatched: [Mismatch] = []
    for path in Set(ours.keys).union(theirs.keys).sorted() {
      let (a, b) = (ours[path], theirs[path])
      if let a, let b, a.shape == b.shape, a.type == b.type, let type = a.type {
        tensors.append(try Comparison.tensor(path, type, one, other))
      } else {
        unmatched.append(
          Mismatch(name: path, first: a.map(Comparison.form), second: b.map(Comparison.form)))
      }
    }
    self.tensors = tensors
    self.unmatched = unmatched
    state = try Comparison.state(one, other)
    let keys = ConfigurationComparison.differences(
      Comparison.text(Format.configuration, one), Comparison.text(Format.configuration, other))
    let others = Comparison.texts(one, other)
    configuration = keys.deciding
    provenance = others.filter { $0.name.hasPrefix("/provenance/") } + keys.execution
    texts = others.filter { !$0.name.hasPrefix("/provenance/") } + Comparison.attributes(one, other)
    isIdentical =
      unmatched.isEmpty && state.isEmpty && configuration.isEmpty && texts.isEmpty
      && tensors.allSatisfy { $0.difference.differingCount == 0 }
  }

  private static func text(_ path: String, _ file: StoredFile) -> String? {
    (try? file.readTexts(path))?.joined(separator: "\n")
  }

  /// Datasets of text that differ, but for the configuration.
  private static func texts(_ one: StoredFile, _ other: StoredFile) -> [Mismatch] {
    func found(_ file: StoredFile) -> [String: String] {
      let paths = file.tree().filter { $0.kind == .dataset && $0.path != Format.configuration }
      return Dictionary(
        paths.compactMap { node in text(node.path, file).map { (node.path, $0) } },
        uniquingKeysWith: { first, _ in first })
    }
    return mismatches(found(one), found(other))
  }

  /// Attributes of all objects but `/state`.
  private static func attributes(_ one: StoredFile, _ other: StoredFile) -> [Mismatch] {
    func found(_ file: StoredFile) -> [String: String] {
      var values: [String: String] = [:]
      for path in ["/"] + file.tree().map(\.path) where path != "/state" {
        for (name, value) in Inspection.attributes(of: path, in: file) {
          values["\(path) attribute \(name)"] = "\(value)"
        }
      }
      return values
    }
    return mismatches(found(one), found(other))
  }

  private static func mismatches(
    _ first: [String: String], _ second: [String: String]
  ) -> [Mismatch] {
    Set(first.keys).union(second.keys).sorted().filter { first[$0] != second[$0] }
      .map { Mismatch(name: $0, first: first[$0], second: second[$0]) }
  }

  /// The JSON form, keys sorted.
  package func encoded() throws(Failure) -> [UInt8] { try JSONText.encode(self, of: first) }

  private static func open(_ path: String) throws(Failure) -> StoredFile {
    let target = try Inspection.target(path)
    if let folder = target.folder,
      FileSystem.kind(of: folder + "/" + Format.manifestFile) != nil
    {
      let manifest = try Manifest(readingFrom: folder + "/" + Format.manifestFile)
      try manifest.verify(try OpenFile(readingRegular: target.file))
    }
    return try StoredFile.open(target.file)
  }

  /// Numeric datasets by path.
  private static func datasets(_ file: StoredFile) throws(Failure) -> [String: Node] {
    var nodes: [String: Node] = [:]
    for node in file.tree() where node.kind == .dataset && node.type?.byteCount ?? 0 > 0 {
      if let defect = node.defect {
        throw Failure(.badData, "\(file.path): \(escaped(node.path)) cannot be read (\(defect))")
      }
      nodes[node.path] = node
    }
    return nodes
  }

  private static func tensor(
    _ path: String, _ type: ElementType, _ one: StoredFile, _ other: StoredFile
  ) throws(Failure) -> Tensor {
    let a = try one.dataset(path)
    let b = try other.dataset(path)
    var difference = TensorDifference()
    for piece in StateVector.pieces(of: a.count) {
      switch type {
      case .float32:
        difference.add(
          try a.read(piece, as: Float.self), try b.read(piece, as: Float.self),
          bits: { UInt64($0.bitPattern) }, value: { Double($0) })
      case .int64:
        difference.add(
          try a.read(piece, as: Int64.self), try b.read(piece, as: Int64.self),
          bits: { UInt64(bitPattern: $0) }, value: { Double($0) })
      case .uint64:
        difference.add(
          try a.read(piece, as: UInt64.self), try b.read(piece, as: UInt64.self),
          bits: { $0 }, value: { Double($0) })
      default:
        difference.add(
          try a.read(piece, as: Double.self), try b.read(piece, as: Double.self),
          bits: { $0.bitPattern }, value: { $0 })
      }
    }
    let norms = difference.norms
    return Tensor(
      path: path, shape: a.shape, difference: difference, cosine: difference.cosine,
      norms: [norms.first, norms.second])
  }

  private static func state(
    _ one: StoredFile, _ other: StoredFile
  ) throws(Failure) -> [Mismatch] {
    let a = one.contains("/state") ? Inspection.attributes(of: "/state", in: one) : [:]
    let b = other.contains("/state") ? Inspection.attributes(of: "/state", in: other) : [:]
    // The dataset's own digest is also of names and origin, and older checkpoints have no other.
    let contents = [a, b].map { $0["content_digest"] }
    let ignored =
      if contents.contains(nil) { "content_digest" } else {
        contents[0] == contents[1] ? "dataset_digest" : ""
      }
    let names = Set(a.keys).union(b.keys).subtracting(ignoredState.union([ignored]))
    return names.sorted().compactMap { name in
      guard a[name] != b[name] else { return nil }
      return Mismatch(
        name: name, first: a[name].map { "\($0)" }, second: b[name].map { "\($0)" })
    }
  }

  private static func form(_ node: Node) -> String {
    let type = node.type.map { "\($0)" } ?? "?"
    let shape = node.shape.map(String.init).joined(separator: "x")
    return shape.isEmpty ? type : "\(type) \(shape)"
  }
}
