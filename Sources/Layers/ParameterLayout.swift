/// How a parameter starts.
package enum Initialization: Equatable, Sendable {
  /// Uniform in +-sqrt(6 / (fanIn + fanOut)). Source: Glorot and Bengio, 2010, equation 16.
  case xavierUniform
  case normal(deviation: Float)
  case constant(Float)
}

/// Where one named tensor lies in the flat parameter vector.
package struct ParameterEntry: Equatable, Sendable {
  /// Slash-separated, as in a checkpoint below `/parameters`: `encoder/layer_00/...`.
  package let name: String
  /// Row-major; a weight matrix is [output, input].
  package let shape: [Int]
  /// First element in the flat vector.
  package let offset: Int
  package let initialization: Initialization

  package var count: Int { shape.reduce(1, *) }
  package var range: Range<Int> { offset..<offset + count }
}

/// A contiguous part of the flat parameter vector that is always whole on one pipeline stage and
/// whose gradient is complete at one moment: a block with what is attached to it, or the embedding.
package struct ParameterSection: Equatable, Sendable {
  package let name: String
  package let range: Range<Int>
}

/// The order and extent of all parameters in one flat vector: the order of checkpoints, gradients
/// and optimizer state alike. Tensors follow each other without gaps.
package struct ParameterLayout: Equatable, Sendable {
  package private(set) var entries: [ParameterEntry] = []
  package private(set) var count = 0
  private var sectionStarts: [(name: String, offset: Int)] = []

  package init() {}

  /// Sections are how a model is cut, not what it holds: layouts with the same tensors at the same
  /// places are equal.
  package static func == (left: ParameterLayout, right: ParameterLayout) -> Bool {
    left.entries == right.entries
  }

  /// The tensors appended from now on belong to a new section.
  package mutating func beginSection(_ name: String) {
    precondition(count == 0 || !sectionStarts.isEmpty, "sections cover the whole layout")
    sectionStarts.append((name, count))
  }

  /// The sections in order; together they are the whole vector. One without marks.
  package var sections: [ParameterSection] {
    guard !sectionStarts.isEmpty else {
      return [ParameterSection(name: "parameters", range: 0..<count)]
    }
    return sectionStarts.indices.map { index in
      let end = index + 1 < sectionStarts.count ? sectionStarts[index + 1].offset : count
      return ParameterSection(
        name: sectionStarts[index].name, range: sectionStarts[index].offset..<end)
    }
  }

  /// Appends a tensor and returns where it lies.
  @discardableResult
  package mutating func append(
    _ name: String, _ shape: [Int], _ initialization: Initialization
  ) -> Range<Int> {
    let entry = ParameterEntry(
      name: name, shape: shape, offset: count, initialization: initialization)
    entries.append(entry)
    count += entry.count
    return entry.range
  }

  package subscript(name: String) -> ParameterEntry? { entries.first { $0.name == name } }
}
