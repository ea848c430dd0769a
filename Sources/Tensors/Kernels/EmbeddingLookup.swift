/// rows_i = factor * table[tokens_i] + positions[position of i in its sequence].
///
/// Shapes: table [V, n], positions [maximumLength, n], rows [tokens, n]. `offsets` are those of
/// `PackedSequences`; `firstPosition` is the position of each sequence's first token.
package func embed(
  tokens: [Int32], offsets: [Int], table: Matrix, positions: Matrix, factor: Float,
  firstPosition: Int = 0, into rows: Matrix
) {
  precondition(rows.rows == tokens.count && rows.columns == table.columns, "one row a token")
  let n = table.columns
  for sequence in 0..<offsets.count - 1 {
    for i in offsets[sequence]..<offsets[sequence + 1] {
      precondition(tokens[i] >= 0 && Int(tokens[i]) < table.rows, "token outside of the vocabulary")
      let position = i - offsets[sequence] + firstPosition
      precondition(position < positions.rows, "sequence longer than the position table")
      let e = table.base + Int(tokens[i]) * table.stride
      let p = positions.base + position * positions.stride
      let y = rows.base + i * rows.stride
      forEachWide(n) { j in
        (Wide(loading: e + j) * factor + Wide(loading: p + j)).store(to: y + j)
      } tail: { j in
        y[j] = e[j] * factor + p[j]
      }
    }
  }
}

/// tableGradient[tokens_i] += factor * rowGradient_i. Order: tokens ascending by position.
package func embedBackward(
  tokens: [Int32], rowGradient: Matrix, factor: Float, into tableGradient: Matrix
) {
  precondition(rowGradient.rows == tokens.count && rowGradient.columns == tableGradient.columns)
  for (i, token) in tokens.enumerated() {
    precondition(token >= 0 && Int(token) < tableGradient.rows, "token outside of the vocabulary")
    let g = rowGradient.base + i * rowGradient.stride
    let t = tableGradient.base + Int(token) * tableGradient.stride
    forEachWide(rowGradient.columns) { j in
      Wide(loading: t + j).addingProduct(Wide(loading: g + j), Wide(repeating: factor))
        .store(to: t + j)
    } tail: { j in
      t[j] = t[j].addingProduct(g[j], factor)
    }
  }
}

/// positionGradient[p] += rowGradient_i for every token i at position p of its sequence.
package func positionsBackward(
  offsets: [Int], rowGradient: Matrix, into positionGradient: Matrix
) {
  for sequence in 0..<offsets.count - 1 {
    for i in offsets[sequence]..<offsets[sequence + 1] {
      add(rowGradient[i], to: positionGradient[i - offsets[sequence]])
    }
  }
}
