import Tensors

/// Attention of new tokens to keys and values computed earlier: one query a row, each over rows of
/// its own choice.
extension MultiHeadAttention {
  /// Elements of one cached row: keys of all heads, then values of all heads.
  package var cachedRowCount: Int { heads * (keyDimension + valueDimension) }

  /// Keys and values of the encoder's output, for cross-attention. Shapes: memory [tokens,
  /// dimension], result [tokens, cachedRowCount].
  package func cacheMemory(_ memory: Matrix, _ pass: Pass) -> Matrix {
    guard let memoryProjection else { preconditionFailure("only cross-attention has a memory") }
    return memoryProjection.forward(memory, pass)
  }

  /// Self-attention of one new token a row: stores its keys and values in `cache`, then attends.
  ///
  /// - Parameter history: the cached rows a row sees, its own (in `cache`) included, oldest first.
  /// Shapes: x and result [rows, dimension], cache [rows, cachedRowCount].
  package func forwardCached(
    _ x: Matrix, storing cache: Matrix, history: (Int) -> [Vector], _ pass: Pass
  ) -> Matrix {
    let projected = inputProjection.forward(x, pass)
    let keys = heads * keyDimension
    for row in 0..<x.rows {
      cache[row].copy(from: projected[columns: keys..<projected.columns][row])
    }
    return attend(projected[columns: 0..<keys], history, pass)
  }

  /// Cross-attention of one new token a row over rows of `cacheMemory`.
  package func forwardCached(
    _ x: Matrix, memory: (Int) -> [Vector], _ pass: Pass
  ) -> Matrix {
    attend(inputProjection.forward(x, pass), memory, pass)
  }

  private func attend(_ queries: Matrix, _ rows: (Int) -> [Vector], _ pass: Pass) -> Matrix {
    let context = pass.arena.matrix(queries.rows, heads * valueDimension)
    for row in 0..<queries.rows {
      let mark = pass.scratch.mark
      let seen = rows(row)
      attendOneQuery(
        query: queries[row], rows: seen, heads: heads, keyDimension: keyDimension,
        valueDimension: valueDimension, factor: factor, scratch: pass.scratch.vector(seen.count),
        into: context[row])
      pass.scratch.reset(to: mark)
    }
    return outputProjection.forward(context, pass)
  }
}
