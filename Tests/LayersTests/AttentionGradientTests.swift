import Core
import Layers
import Tensors
import Testing

/// Attention's gradients against central differences of its naive twin in Double.
@Suite struct AttentionGradientTests {
  enum Kind: CaseIterable { case selfAttention, causal, cross }

  private static let dimension = 6
  private static let heads = 3
  private static let queries = [0, 3, 4, 9]
  private static let memories = [0, 1, 6, 8]

  /// Uneven sequences; keys and values of different width.
  @Test(arguments: Kind.allCases, [true, false])
  func attention(kind: Kind, bias: Bool) {
    let (keyDimension, valueDimension) = (2, 5)
    let isCross = kind == .cross
    var layout = GradientCheck.layout()
    let layer = MultiHeadAttention(
      "layer", dimension: Self.dimension, heads: Self.heads, keyDimension: keyDimension,
      valueDimension: valueDimension, bias: bias, isCross: isCross, in: &layout)
    let check = GradientCheck(layout)
    let keys = isCross ? Self.memories : Self.queries
    let extents = MultiHeadAttention.Extents(
      queries: Self.queries, keys: keys, causal: kind == .causal)
    let x = check.random(9, Self.dimension, site: 2)
    let memory = check.random(8, Self.dimension, site: 4)
    let cotangent = check.random(9, Self.dimension, site: 3)
    let gradient = check.rows(9, Self.dimension, filled: .nan)
    // The memory's gradient is always added to.
    let memoryGradient = check.rows(8, Self.dimension, filled: GradientCheck.earlier)

    let saved = layer.forward(
      x, memory: isCross ? memory : nil, extents: extents, check.pass)
    layer.backward(
      saved, extents: extents, outputGradient: cotangent, check.pass, check.target,
      inputGradient: gradient, accumulateInput: false,
      memoryGradient: isCross ? memoryGradient : nil)
    check.removeEarlier(from: memoryGradient)

    var inputs = ["x": x]
    var inputGradients = ["x": gradient]
    if isCross {
      inputs["memory"] = memory
      inputGradients["memory"] = memoryGradient
    }
    check.compare(inputs: inputs, inputGradients: inputGradients) { values -> Double in
      let x = values.rows("x", columns: Self.dimension)
      let memory = isCross ? values.rows("memory", columns: Self.dimension) : x
      let q = values.linear(x, "layer/query")
      let k = values.linear(memory, "layer/key")
      let v = values.linear(memory, "layer/value")
      var context: Reference.Rows = []
      for sequence in 0..<extents.sequenceCount {
        let own = Self.queries[sequence]..<Self.queries[sequence + 1]
        let seen = keys[sequence]..<keys[sequence + 1]
        let (query, key, value) = (Array(q[own]), Array(k[seen]), Array(v[seen]))
        let attended: Reference.Rows = Reference.attention(
          query: query, key: key, value: value, heads: Self.heads, causal: kind == .causal)
        context += attended
      }
      return contraction(values.linear(context, "layer/output"), cotangent)
    }
  }
}
