import Core
import Foundation
import Tensors

/// A sentence, the translation it is measured against, and the pieces of both.
package struct ReferencePair: Equatable, Sendable {
  package var source: String
  package var reference: String
  /// Without special tokens.
  package var sourceTokens: [Int32]
  package var referenceTokens: [Int32]

  package init(
    source: String, reference: String, sourceTokens: [Int32], referenceTokens: [Int32]
  ) {
    self.source = source
    self.reference = reference
    self.sourceTokens = sourceTokens
    self.referenceTokens = referenceTokens
  }

  /// The longer side, in pieces without special tokens.
  package var longestSide: Int { max(sourceTokens.count, referenceTokens.count) }
}

/// How well a model translates known sentences.
package struct Evaluation: Equatable, Sendable {
  package let bleu: BLEU
  /// Of the references' pieces, end-of-sequence included; without label smoothing.
  package let loss: LossSum
  package let translations: [String]

  /// exp of the mean negative log-likelihood of a piece.
  package var perplexity: Double { exp(loss.negativeLogLikelihood / Double(max(1, loss.tokens))) }

  /// Translates and scores every pair.
  ///
  /// - Parameters:
  ///   - microBatchTokens: the most tokens of a side that are scored at once.
  ///   - score: the summed loss of a micro-batch, without label smoothing.
  /// Throws: `Failure` (.badData) if a pair exceeds the model's positions or
  /// `Translator.longestLine`; what `score` throws.
  package init(
    _ pairs: [ReferencePair], translator: Translator, microBatchTokens: Int = 2048,
    score: (MicroBatch) throws -> LossSum
  ) throws {
    if let maximum = translator.maximumLength,
      let pair = pairs.firstIndex(where: { $0.longestSide + 1 > maximum })
    {
      throw Failure(
        .badData,
        "pair \(pair + 1): \(pairs[pair].longestSide + 1) pieces (end included), but the model's "
          + "learned positions end at \(maximum); leave out longer pairs than \(maximum - 1) pieces"
      )
    }
    if let pair = pairs.firstIndex(where: { $0.longestSide >= Translator.longestLine }) {
      throw Failure(
        .badData,
        "pair \(pair + 1): \(pairs[pair].longestSide + 1) pieces (end included), at most "
          + "\(Translator.longestLine) are evaluated; leave out longer pairs with --max-pieces "
          + "\(Translator.longestLine - 1)")
    }
    var loss = LossSum()
    for batch in Self.microBatches(pairs, tokens: microBatchTokens) { loss += try score(batch) }
    self.loss = loss
    translations = try translator.translate(pairs.map(\.source)).map(\.text)
    bleu = BLEU(translations: translations, references: pairs.map(\.reference))
  }

  /// The pairs in their order, cut where a side would exceed `tokens`.
  private static func microBatches(_ pairs: [ReferencePair], tokens: Int) -> [MicroBatch] {
    var groups: [[(source: [Int32], target: [Int32])]] = []
    var (sources, targets) = (0, 0)
    for pair in pairs {
      let (source, target) = (pair.sourceTokens.count + 1, pair.referenceTokens.count + 1)
      if groups.isEmpty || sources + source > tokens || targets + target > tokens {
        groups.append([])
        (sources, targets) = (0, 0)
      }
      groups[groups.count - 1].append((pair.sourceTokens, pair.referenceTokens))
      sources += source
      targets += target
    }
    return groups.map { MicroBatch(pairs: $0) }
  }
}
