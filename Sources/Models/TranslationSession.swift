import Core
import Layers
import Tensors

/// Extends translations of some source sentences token by token, with the encoder run once and the
/// keys and values of every prefix kept.
package final class TranslationSession: StepwiseModel {
  private let model: Transformer
  private let pass: Pass
  private let cache: Arena
  private let sourceOffsets: [Int]
  /// Keys and values of the encoder's output, a matrix for each decoder block.
  private var memory: [Matrix] = []
  /// Keys and values of the target tokens so far: `prefixes[step][block]`.
  private var prefixes: [[Matrix]] = []
  /// For each hypothesis of the last step the row it and its ancestors had at each step.
  private var histories: [[Int]] = []
  private let limits: Limits

  /// The most a session has to hold.
  package struct Limits: Sendable {
    package var hypotheses: Int
    package var steps: Int

    package init(hypotheses: Int, steps: Int) {
      self.hypotheses = hypotheses
      self.steps = steps
    }
  }

  /// - Parameter sources: each ends with end-of-sequence.
  /// - Precondition: learned positions cover sources and steps.
  package init(
    _ model: Transformer, weights: Vector, sources: PackedSequences, limits: Limits
  ) {
    self.model = model
    self.limits = limits
    sourceOffsets = sources.offsets
    let shape = model.shape
    let longest = (0..<sources.count).map(sources.length).max() ?? 0
    let encoderBounds = BatchBounds(tokens: sources.tokens.count, longest: longest)
    let stepBounds = BatchBounds(tokens: limits.hypotheses, longest: 1)
    let saved = max(
      model.arenaCapacity(encoderBounds).saved,
      model.arenaCapacity(stepBounds).saved + limits.hypotheses * shape.vocabularySize + 16)
    pass = Pass(
      evaluating: weights, arena: Arena(capacity: saved),
      scratch: Arena(capacity: Arena.room(max(longest, limits.steps))))
    let rowCount = model.decoder.first?.selfAttention.cachedRowCount ?? 0
    let stepCount = limits.hypotheses * rowCount + 16
    cache = Arena(
      capacity: model.decoder.count
        * (sources.tokens.count * rowCount + limits.steps * stepCount + 16)
    )

    let extents = MultiHeadAttention.Extents(
      queries: sources.offsets, keys: sources.offsets, causal: false)
    let encoded = model.whole.forwardSource(sources, input: nil, extents, pass)
    memory = model.decoder.map { block in
      let projected = block.crossAttention.cacheMemory(encoded.output, pass)
      let kept = cache.matrix(projected.rows, projected.columns)
      kept.vector.copy(from: projected.vector)
      return kept
    }
  }

  package var vocabularySize: Int { model.shape.vocabularySize }

  package func advance(_ steps: [HypothesisStep]) -> Matrix {
    precondition(steps.count <= limits.hypotheses, "more hypotheses than the session was made for")
    precondition(prefixes.count < limits.steps, "more steps than the session was made for")
    pass.arena.reset()
    let step = prefixes.count
    histories = steps.enumerated().map { row, hypothesis in
      (step == 0 ? [] : histories[hypothesis.parent]) + [row]
    }
    prefixes.append(
      model.decoder.map { cache.matrix(steps.count, $0.selfAttention.cachedRowCount) })
    let tokens = PackedSequences(tokens: steps.map(\.token), offsets: Array(0...steps.count))
    var x = model.targetEmbedding.forward(tokens, pass, firstPosition: step)
    for (index, block) in model.decoder.enumerated() {
      x = advance(x, block, index, steps)
    }
    if let norm = model.finalNorms?.decoder { x = norm.forward(x, inPlace: true, pass).output }
    let logits = pass.arena.matrix(steps.count, vocabularySize)
    multiply(x, model.embedding.table(pass.weights).transposed, into: logits)
    return logits
  }

  private func advance(
    _ x: Matrix, _ block: DecoderBlock, _ index: Int, _ steps: [HypothesisStep]
  ) -> Matrix {
    let own = block.selfAttentionResidual.enter(x, pass)
    let attended = block.selfAttention.forwardCached(
      own.output, storing: prefixes[prefixes.count - 1][index],
      history: { row in
        self.histories[row].enumerated().map { self.prefixes[$0.offset][index][$0.element] }
      }, pass)
    let y = block.selfAttentionResidual.leave(x, body: attended, pass).output

    let cross = block.crossAttentionResidual.enter(y, pass)
    let crossed = block.crossAttention.forwardCached(
      cross.output,
      memory: { row in
        let sentence = steps[row].sentence
        return (self.sourceOffsets[sentence]..<self.sourceOffsets[sentence + 1]).map {
          self.memory[index][$0]
        }
      }, pass)
    let z = block.crossAttentionResidual.leave(y, body: crossed, pass).output

    let fed = block.feedForwardResidual.enter(z, pass)
    let output = block.feedForward.forward(fed.output, pass).output
    return block.feedForwardResidual.leave(z, body: output, pass).output
  }
}
