/// Attention of one query over keys that lie anywhere: a decoding step over cached rows.
///
/// Equation: output = sum_t softmax_t(factor * query . key_t) value_t, head by head.
/// Shapes: query [heads * keyDimension], output [heads * valueDimension]; each of the `rows` holds
/// heads * keyDimension key elements followed by heads * valueDimension value elements; scratch
/// [rows.count].
package func attendOneQuery(
  query: Vector, rows: [Vector], heads: Int, keyDimension: Int, valueDimension: Int,
  factor: Float, scratch: Vector, into output: Vector
) {
  precondition(query.count == heads * keyDimension && output.count == heads * valueDimension)
  precondition(scratch.count >= rows.count, "one score a row")
  let valueStart = heads * keyDimension
  for head in 0..<heads {
    let q = query.base + head * keyDimension
    for (t, row) in rows.enumerated() {
      scratch.base[t] = factor * dot(q, row.base + head * keyDimension, keyDimension)
    }
    softmax(scratch.base, rows.count)
    let y = output.base + head * valueDimension
    y.update(repeating: 0, count: valueDimension)
    for (t, row) in rows.enumerated() {
      let v = row.base + valueStart + head * valueDimension
      let weight = scratch.base[t]
      forEachWide(valueDimension) { i in
        Wide(loading: y + i).addingProduct(Wide(loading: v + i), Wide(repeating: weight))
          .store(to: y + i)
      } tail: { i in
        y[i] = y[i].addingProduct(v[i], weight)
      }
    }
  }
}

@inline(__always) private func dot(
  _ a: UnsafeMutablePointer<Float>, _ b: UnsafeMutablePointer<Float>, _ n: Int
) -> Float {
  var wide = Wide(repeating: 0)
  var rest: Float = 0
  forEachWide(n) { i in
    wide.addProduct(Wide(loading: a + i), Wide(loading: b + i))
  } tail: { i in
    rest += a[i] * b[i]
  }
  return wide.total + rest
}
