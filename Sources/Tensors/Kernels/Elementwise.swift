/// rows += bias, to each row. Shapes: matrix [rows, n], bias [n].
package func addBias(_ bias: Vector, to matrix: Matrix) {
  precondition(bias.count == matrix.columns, "one bias a column")
  for row in 0..<matrix.rows {
    let x = matrix.base + row * matrix.stride
    forEachWide(matrix.columns) { i in
      (Wide(loading: x + i) + Wide(loading: bias.base + i)).store(to: x + i)
    } tail: { i in
      x[i] += bias.base[i]
    }
  }
}

/// x = max(0, x + bias), to each row in place: the inner half of a feed-forward layer.
package func addBiasAndRectify(_ bias: Vector, _ matrix: Matrix) {
  precondition(bias.count == matrix.columns, "one bias a column")
  for row in 0..<matrix.rows {
    let x = matrix.base + row * matrix.stride
    forEachWide(matrix.columns) { i in
      let sum = Wide(loading: x + i) + Wide(loading: bias.base + i)
      sum.replacing(with: 0, where: sum .< 0).store(to: x + i)
    } tail: { i in
      let sum = x[i] + bias.base[i]
      x[i] = sum < 0 ? 0 : sum
    }
  }
}

/// Zeroes the gradient where the rectified output is zero. Shapes: both [rows, n].
package func rectifyBackward(output: Matrix, gradient: Matrix) {
  precondition(output.rows == gradient.rows && output.columns == gradient.columns, "shapes differ")
  for row in 0..<output.rows {
    let y = output.base + row * output.stride
    let g = gradient.base + row * gradient.stride
    forEachWide(output.columns) { i in
      Wide(loading: g + i).replacing(with: 0, where: Wide(loading: y + i) .<= 0).store(to: g + i)
    } tail: { i in
      if y[i] <= 0 { g[i] = 0 }
    }
  }
}

/// sums = column sums of the matrix, or sums += when `accumulate`. Order: rows ascending.
package func sumColumns(_ matrix: Matrix, into sums: Vector, accumulate: Bool) {
  precondition(sums.count == matrix.columns, "one sum a column")
  if !accumulate { sums.fill(0) }
  for row in 0..<matrix.rows { add(matrix[row], to: sums) }
}

/// target += source.
package func add(_ source: Vector, to target: Vector) {
  precondition(source.count == target.count, "counts differ")
  let x = source.base
  let y = target.base
  forEachWide(source.count) { i in
    (Wide(loading: y + i) + Wide(loading: x + i)).store(to: y + i)
  } tail: { i in
    y[i] += x[i]
  }
}

/// Calls `wide` for each full group of sixteen indices and `tail` for each index left over.
@inline(__always) func forEachWide(
  _ count: Int, wide: (Int) -> Void, tail: (Int) -> Void
) {
  var i = 0
  while i &+ 16 <= count {
    wide(i)
    i &+= 16
  }
  while i < count {
    tail(i)
    i &+= 1
  }
}
