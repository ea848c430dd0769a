import Core

/// How many items have which lengths in which streams, without begin and end.
package struct LengthTable: Equatable, Sendable, Codable {
  /// Lengths by stream; 0 where there is no such stream.
  package typealias Lengths = SIMD4<Int32>

  package struct Row: Equatable, Sendable, Codable {
    package var lengths: Lengths
    /// Items of these lengths.
    package var count: Int
  }

  /// Streams an item may have.
  package static let streamLimit = Lengths.scalarCount

  /// Ascending by the lengths, those of the first stream first; no lengths come twice.
  package private(set) var rows: [Row]

  /// Precondition: the rows are as above.
  package init(rows: [Row] = []) { self.rows = rows }

  package init(of content: ShardContent) {
    precondition(content.streams.count <= Self.streamLimit, "there are few streams")
    var counts: [Lengths: Int] = [:]
    for item in 0..<content.itemCount {
      var lengths = Lengths()
      for (index, stream) in content.streams.enumerated() {
        lengths[index] = Int32(stream.length(item))
      }
      counts[lengths, default: 0] += 1
    }
    self.init(counts)
  }

  init(_ counts: [Lengths: Int]) {
    rows = counts.map { Row(lengths: $0.key, count: $0.value) }
      .sorted { Self.precedes($0.lengths, $1.lengths) }
  }

  static func precedes(_ one: Lengths, _ other: Lengths) -> Bool {
    for index in 0..<Self.streamLimit where one[index] != other[index] {
      return one[index] < other[index]
    }
    return false
  }

  /// How many items have a longest side of which length, ascending.
  package var longestSides: [(length: Int32, count: Int)] {
    var counts: [Int32: Int] = [:]
    for row in rows { counts[row.lengths.max(), default: 0] += row.count }
    return counts.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
  }
}
