import Tensors

/// Multi-head scaled dot-product attention over packed sequences.
///
/// Equation: concat_h(softmax(Q_h K_h^T / sqrt(d_k)) V_h) W_O.
/// Source: "Attention Is All You Need", section 3.2. No dropout on the attention weights, no biases
/// unless asked for.
/// Shapes: Q, K [tokens, heads * keyDimension], V [tokens, heads * valueDimension]; head h owns
/// columns h * dimension ..< (h + 1) * dimension.
package struct MultiHeadAttention: Sendable {
  package let heads: Int
  package let keyDimension: Int
  package let valueDimension: Int
  /// Queries, keys and values of self-attention in one projection; queries alone of
  /// cross-attention.
  package let inputProjection: Linear
  /// Keys and values of cross-attention.
  package let memoryProjection: Linear?
  package let outputProjection: Linear

  package init(
    _ name: String, dimension: Int, heads: Int, keyDimension: Int, valueDimension: Int,
    bias: Bool, isCross: Bool, in layout: inout ParameterLayout
  ) {
    self.heads = heads
    self.keyDimension = keyDimension
    self.valueDimension = valueDimension
    let query = (name: "\(name)/query", outputs: heads * keyDimension)
    let keyValue = [
      (name: "\(name)/key", outputs: heads * keyDimension),
      (name: "\(name)/value", outputs: heads * valueDimension),
    ]
    inputProjection = Linear(
      fused: isCross ? [query] : [query] + keyValue, inputs: dimension, bias: bias, in: &layout)
    memoryProjection =
      isCross ? Linear(fused: keyValue, inputs: dimension, bias: bias, in: &layout) : nil
    outputProjection = Linear(
      "\(name)/output", inputs: heads * valueDimension, outputs: dimension, bias: bias,
      in: &layout)
  }

  package struct Saved {
    let input: Matrix
    let memory: Matrix?
    let inputProjected: Matrix
    let memoryProjected: Matrix?
    /// For each sequence and head a matrix [queries, keys], one after another.
    let probabilities: Vector
    let context: Matrix
    package let output: Matrix
  }

  /// The sequences of queries and of keys: offsets as in `PackedSequences`.
  package struct Extents {
    package let queries: [Int]
    package let keys: [Int]
    package let causal: Bool

    package init(queries: [Int], keys: [Int], causal: Bool) {
      precondition(queries.count == keys.count, "one key sequence for one query sequence")
      self.queries = queries
      self.keys = keys
      self.causal = causal
    }

    package var sequenceCount: Int { queries.count - 1 }

    /// Queries times keys of one sequence.
    func pairs(_ sequence: Int) -> Int {
      let queryCount = queries[sequence + 1] - queries[sequence]
      let keyCount = keys[sequence + 1] - keys[sequence]
      return queryCount * keyCount
    }

    /// The sum over sequences of queries times keys.
    package var pairCount: Int { (0..<sequenceCount).reduce(0) { $0 + pairs($1) } }

    /// The most of any sequence.
    package var largestPair: Int { (0..<sequenceCount).map(pairs).max() ?? 0 }
  }

  /// Self-attention when `memory` is nil, else cross-attention to the rows of `memory`.
  package func forward(
    _ x: Matrix, memory: Matrix? = nil, extents: Extents, _ pass: Pass
  ) -> Saved {
    let inputProjected = inputProjection.forward(x, pass)
    let memoryProjected = memory.flatMap { memory in
      memoryProjection?.forward(memory, pass)
    }
    let probabilities = pass.arena.vector(heads * extents.pairCount)
    let context = pass.arena.matrix(x.rows, heads * valueDimension)
    let (q, k, v) = split(inputProjected, memoryProjected)
    forEachHead(extents, probabilities) { queries, keys, head, p in
      let rows = head.key
      multiply(
        q[rows: queries][columns: rows], k[rows: keys][columns: rows].transposed, into: p,
        scale: factor)
      softmaxRows(p, causal: extents.causal)
      multiply(
        p, v[rows: keys][columns: head.value], into: context[rows: queries][columns: head.value])
    }
    return Saved(
      input: x, memory: memory, inputProjected: inputProjected, memoryProjected: memoryProjected,
      probabilities: probabilities, context: context,
      output: outputProjection.forward(context, pass))
  }

  /// Writes: `inputGradient` (overwritten or accumulated); `memoryGradient` always accumulated.
  package func backward(
    _ saved: Saved, extents: Extents, outputGradient: Matrix, _ pass: Pass,
    _ gradients: GradientTarget, inputGradient: Matrix, accumulateInput: Bool,
    memoryGradient: Matrix? = nil
  ) {
    let arena = pass.scratch
    let contextGradient = arena.matrix(saved.context.rows, saved.context.columns)
    outputProjection.backward(
      input: saved.context, outputGradient: outputGradient, pass, gradients,
      inputGradient: contextGradient, accumulateInput: false)

    let inputProjectedGradient = arena.matrix(
      saved.inputProjected.rows, saved.inputProjected.columns)
    let memoryProjectedGradient = saved.memoryProjected.map { arena.matrix($0.rows, $0.columns) }
    let (q, k, v) = split(saved.inputProjected, saved.memoryProjected)
    let (dq, dk, dv) = split(inputProjectedGradient, memoryProjectedGradient)
    let scores = arena.vector(extents.largestPair)
    forEachHead(extents, saved.probabilities) { queries, keys, head, p in
      let dp = scores[0..<p.rows * p.columns].matrix(rows: p.rows, columns: p.columns)
      let dContext = contextGradient[rows: queries][columns: head.value]
      multiply(dContext, v[rows: keys][columns: head.value].transposed, into: dp)
      multiply(p.transposed, dContext, into: dv[rows: keys][columns: head.value])
      softmaxRowsBackward(probabilities: p, gradient: dp, causal: extents.causal)
      multiply(
        dp, k[rows: keys][columns: head.key], into: dq[rows: queries][columns: head.key],
        scale: factor)
      multiply(
        dp.transposed, q[rows: queries][columns: head.key],
        into: dk[rows: keys][columns: head.key], scale: factor)
    }

    inputProjection.backward(
      input: saved.input, outputGradient: inputProjectedGradient, pass, gradients,
      inputGradient: inputGradient, accumulateInput: accumulateInput)
    if let memoryProjection, let memory = saved.memory, let memoryProjectedGradient,
      let memoryGradient
    {
      memoryProjection.backward(
        input: memory, outputGradient: memoryProjectedGradient, pass, gradients,
        inputGradient: memoryGradient, accumulateInput: true)
    }
  }

  /// 1 / sqrt(d_k).
  package var factor: Float { 1 / Float(keyDimension).squareRoot() }

  /// Floats kept from forward to backward.
  package func savedCount(queries: Int, keys: Int, pairs: Int) -> Int {
    inputProjection.savedCount(tokens: queries)
      + (memoryProjection?.savedCount(tokens: keys) ?? 0) + Arena.room(heads * pairs)
      + Arena.room(queries * heads * valueDimension)
      + outputProjection.savedCount(tokens: queries)
  }

  /// Floats of scratch the backward pass needs.
  package func scratchCount(queries: Int, keys: Int, largestPair: Int) -> Int {
    Arena.room(queries * heads * valueDimension)
      + Arena.room(queries * inputProjection.outputs)
      + Arena.room(keys * (memoryProjection?.outputs ?? 0)) + Arena.room(largestPair)
  }

  /// Views of queries, keys and values inside the projections.
  private func split(
    _ inputProjected: Matrix, _ memoryProjected: Matrix?
  ) -> (query: Matrix, key: Matrix, value: Matrix) {
    let keys = heads * keyDimension
    let query = inputProjected[columns: 0..<keys]
    let pair = memoryProjected ?? inputProjected[columns: keys..<inputProjected.columns]
    return (query, pair[columns: 0..<keys], pair[columns: keys..<pair.columns])
  }

  /// Calls `body` for each sequence and head with its rows, its columns and its probabilities.
  private func forEachHead(
    _ extents: Extents, _ probabilities: Vector,
    _ body: (
      _ queries: Range<Int>, _ keys: Range<Int>, _ head: (key: Range<Int>, value: Range<Int>),
      _ probabilities: Matrix
    ) -> Void
  ) {
    var start = 0
    for sequence in 0..<extents.sequenceCount {
      let queries = extents.queries[sequence]..<extents.queries[sequence + 1]
      let keys = extents.keys[sequence]..<extents.keys[sequence + 1]
      let count = queries.count * keys.count
      for head in 0..<heads {
        let p = probabilities[start..<start + count].matrix(
          rows: queries.count, columns: keys.count)
        body(
          queries, keys,
          (
            head * keyDimension..<(head + 1) * keyDimension,
            head * valueDimension..<(head + 1) * valueDimension
          ), p)
        start += count
      }
    }
  }
}
