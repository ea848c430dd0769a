/// A borrowed run of floats. Its owner (a `FloatBuffer` or an `Arena`) must outlive it.
package struct Vector: @unchecked Sendable {
  // Unchecked: a view is passed between threads only by code that partitions it into disjoint
  // parts.
  package let base: UnsafeMutablePointer<Float>
  package let count: Int

  package init(base: UnsafeMutablePointer<Float>, count: Int) {
    self.base = base
    self.count = count
  }

  package subscript(range: Range<Int>) -> Vector {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "range outside of the vector")
    return Vector(base: base + range.lowerBound, count: range.count)
  }

  /// The same floats as rows of `columns` each.
  package func matrix(rows: Int, columns: Int) -> Matrix {
    precondition(rows * columns == count, "shape does not match the count")
    return Matrix(base: base, rows: rows, columns: columns, stride: columns)
  }

  package func fill(_ value: Float) { base.update(repeating: value, count: count) }

  package func copy(from other: Vector) {
    precondition(count == other.count, "counts differ")
    base.update(from: other.base, count: count)
  }

  package var array: [Float] { Array(UnsafeBufferPointer(start: base, count: count)) }

  /// The floats as bytes, for files, digests and messages.
  package var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base, count: count * MemoryLayout<Float>.stride)
  }

  package var mutableBytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base, count: count * MemoryLayout<Float>.stride)
  }
}

/// A borrowed row-major matrix of floats; rows may lie further apart than they are long.
package struct Matrix: @unchecked Sendable {
  package let base: UnsafeMutablePointer<Float>
  package let rows: Int
  package let columns: Int
  /// Distance between the starts of two rows, in elements.
  package let stride: Int

  package init(base: UnsafeMutablePointer<Float>, rows: Int, columns: Int, stride: Int) {
    precondition(rows >= 0 && columns >= 0 && stride >= columns, "malformed matrix extents")
    self.base = base
    self.rows = rows
    self.columns = columns
    self.stride = stride
  }

  package subscript(rows range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows outside of the matrix")
    return Matrix(
      base: base + range.lowerBound * stride, rows: range.count, columns: columns, stride: stride)
  }

  package subscript(columns range: Range<Int>) -> Matrix {
    precondition(range.lowerBound >= 0 && range.upperBound <= columns, "columns outside")
    return Matrix(base: base + range.lowerBound, rows: rows, columns: range.count, stride: stride)
  }

  package var isContiguous: Bool { stride == columns }

  /// All elements as one run; the matrix must be contiguous.
  package var vector: Vector {
    precondition(isContiguous, "a strided matrix has no flat view")
    return Vector(base: base, count: rows * columns)
  }

  package subscript(row: Int) -> Vector {
    precondition(row >= 0 && row < rows, "row outside of the matrix")
    return Vector(base: base + row * stride, count: columns)
  }
}
