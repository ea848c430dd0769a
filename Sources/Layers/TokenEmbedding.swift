import Core
import Foundation
import Tensors

/// The embedding matrix shared by encoder input, decoder input and output projection.
///
/// Source: "Attention Is All You Need", section 3.4: shared weights, times sqrt(d_model) on input.
package struct TokenEmbedding: Sendable {
  package let weight: Range<Int>
  package let vocabularySize: Int
  package let dimension: Int

  /// Declares `embedding/weight`, normal with deviation d^-0.5, so that scaled inputs and logits
  /// both start near unit variance.
  package init(vocabularySize: Int, dimension: Int, in layout: inout ParameterLayout) {
    weight = layout.append(
      "embedding/weight", [vocabularySize, dimension],
      .normal(deviation: 1 / Float(dimension).squareRoot()))
    self.vocabularySize = vocabularySize
    self.dimension = dimension
  }

  package func table(_ weights: Vector) -> Matrix {
    weights[weight].matrix(rows: vocabularySize, columns: dimension)
  }

  func tableGradient(_ gradients: GradientTarget) -> Matrix {
    gradients.part(weight).matrix(rows: vocabularySize, columns: dimension)
  }

  /// Adds the gradients of looked-up tokens, as `InputEmbedding.backward` leaves them, to the
  /// embedding's gradient.
  ///
  /// Equation: dE[token_i] += sqrt(d) row_i. Writes: always accumulated (the vocabulary loss wrote
  /// it first). Order: rows ascending.
  package func addTokenGradients(
    _ tokens: [Int32], rows: Matrix, into gradients: GradientTarget
  ) {
    embedBackward(
      tokens: tokens, rowGradient: rows, factor: factor, into: tableGradient(gradients))
  }

  package var factor: Float { Float(dimension).squareRoot() }
}

/// dropout(sqrt(d) E[token] + P[position]): what an encoder or decoder reads.
package struct InputEmbedding: Sendable {
  let embedding: TokenEmbedding
  let positions: PositionEncoding
  let site: Int

  package init(embedding: TokenEmbedding, positions: PositionEncoding, site: Int) {
    self.embedding = embedding
    self.positions = positions
    self.site = site
  }

  package func forward(
    _ sequences: PackedSequences, _ pass: Pass, firstPosition: Int = 0
  ) -> Matrix {
    let x = pass.arena.matrix(sequences.tokens.count, embedding.dimension)
    embed(
      tokens: sequences.tokens, offsets: sequences.offsets, table: embedding.table(pass.weights),
      positions: positions.table(pass.weights), factor: embedding.factor,
      firstPosition: firstPosition, into: x)
    pass.dropout.apply(x, into: x, stream: pass.maskStream(site: site))
    return x
  }

  /// Turns `gradient`, in place, into the gradients of the looked-up tokens: rows for
  /// `TokenEmbedding.addTokenGradients`, which may run later and elsewhere.
  ///
  /// Writes: the gradient of learned positions, overwritten or accumulated as `gradients` says.
  package func backward(
    _ sequences: PackedSequences, gradient: Matrix, _ pass: Pass, _ gradients: GradientTarget
  ) {
    pass.dropout.apply(gradient, into: gradient, stream: pass.maskStream(site: site))
    positions.backward(sequences, gradient: gradient, gradients)
  }
}

/// What tells positions apart: the paper's sinusoids, or learned rows.
package enum PositionEncoding: Sendable {
  case sinusoidal(SinusoidTable)
  case learned(Range<Int>, maximumLength: Int, dimension: Int)

  func table(_ weights: Vector) -> Matrix {
    switch self {
    case .sinusoidal(let table): table.matrix
    case .learned(let range, let maximumLength, let dimension):
      weights[range].matrix(rows: maximumLength, columns: dimension)
    }
  }

  func backward(_ sequences: PackedSequences, gradient: Matrix, _ gradients: GradientTarget) {
    guard case .learned(let range, let maximumLength, let dimension) = self else { return }
    let target = gradients.part(range)
    if !gradients.accumulates { target.fill(0) }
    positionsBackward(
      offsets: sequences.offsets, rowGradient: gradient,
      into: target.matrix(rows: maximumLength, columns: dimension))
  }
}

/// PE(pos, 2i) = sin(pos / 10000^(2i/d)), PE(pos, 2i+1) = cos(pos / 10000^(2i/d)).
///
/// Source: "Attention Is All You Need", section 3.5; computed in Double, rounded once.
package final class SinusoidTable: Sendable {
  private let buffer: FloatBuffer
  private let rows: Int
  private let dimension: Int

  package init(rows: Int, dimension: Int) {
    self.rows = rows
    self.dimension = dimension
    buffer = FloatBuffer(count: rows * dimension)
    let table = buffer.view
    for position in 0..<rows {
      for i in 0..<dimension {
        let angle =
          Double(position) / pow(10_000, Double(i - i % 2) / Double(dimension))
        table.base[position * dimension + i] = Float(i % 2 == 0 ? sin(angle) : cos(angle))
      }
    }
  }

  package var matrix: Matrix { buffer.view.matrix(rows: rows, columns: dimension) }
}
