import Core
import Foundation
import Models
import Tensors

/// A model whose scores are a hash of the sentence and the whole prefix: any mistake in rows,
/// parents or tokens changes them.
final class HistoryModel: StepwiseModel {
  let vocabularySize: Int
  /// Seeds, one a sentence.
  private let sentences: [UInt64]
  private var prefixes: [[Int32]] = []
  private var logits = FloatBuffer(count: 0)
  private(set) var rowCounts: [Int] = []

  init(vocabularySize: Int, sentences: [UInt64]) {
    self.vocabularySize = vocabularySize
    self.sentences = sentences
  }

  func advance(_ steps: [HypothesisStep]) -> Matrix {
    let isFirst = rowCounts.isEmpty
    prefixes = steps.map { (isFirst ? [] : prefixes[$0.parent]) + [$0.token] }
    rowCounts.append(steps.count)
    logits = FloatBuffer(count: steps.count * vocabularySize)
    let matrix = logits.view.matrix(rows: steps.count, columns: vocabularySize)
    for (row, step) in steps.enumerated() {
      for token in 0..<vocabularySize {
        matrix[row].base[token] = Self.logit(
          seed: sentences[step.sentence], prefix: prefixes[row], token: Int32(token))
      }
    }
    return matrix
  }

  /// Uniform in -4 ..< 4.
  static func logit(seed: UInt64, prefix: [Int32], token: Int32) -> Float {
    var hash = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0xD1B5_4A32_D192_ED03
    for value in prefix + [token] {
      hash = (hash ^ UInt64(value + 1)) &* 0xBF58_476D_1CE4_E5B9
      hash ^= hash >> 29
    }
    return Float(hash >> 40) / Float(1 << 24) * 8 - 4
  }

  /// The log-probabilities of the next token, in Double and by definition.
  static func logProbabilities(seed: UInt64, prefix: [Int32], vocabularySize: Int) -> [Double] {
    let logits = (0..<vocabularySize).map {
      Double(logit(seed: seed, prefix: prefix, token: Int32($0)))
    }
    return logits.map { logit in
      -log(logits.reduce(0) { $0 + exp($1 - logit) })
    }
  }
}
