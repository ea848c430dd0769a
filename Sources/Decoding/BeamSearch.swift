import Core
import Models

/// A finished translation of a search.
package struct Hypothesis: Equatable, Sendable {
  /// Without begin- and end-of-sequence.
  package var tokens: [Int32]
  /// Log-probability divided by the length penalty.
  package var score: Double
  /// Natural logarithm, end-of-sequence included.
  package var logProbability: Double
  /// False if the maximum length cut it off before end-of-sequence.
  package var isComplete: Bool
}

/// Finds the best-scoring continuations of many sentences at once.
///
/// Each sentence keeps its `beamWidth` most probable unfinished hypotheses and its `beamWidth` best
/// finished ones. A step looks at the 2 x beamWidth best extensions: those that end are finished,
/// the best others live on. A sentence is done when nothing alive can beat its finished results,
/// even if it kept its log-probability up to the maximum length. Width 1 is greedy: the argmax at
/// each token up to the first end-of-sequence.
///
/// Source: "Attention Is All You Need", section 6.1, and the search of Tensor2Tensor it was
/// decoded with. Departure: what the maximum length cuts off is used only if nothing finished.
/// Order: ties go to the earlier parent, then the lower token; a sentence's result depends on its
/// own logits only, not on the sentences it is decoded with.
package struct BeamSearch: Equatable, Sendable {
  package var beamWidth = 4
  package var lengthPenalty = LengthPenalty.paper(alpha: 0.6)
  /// How many tokens a translation may be longer than its source.
  package var lengthOffset = 50
  /// The longest target the model has positions for, end-of-sequence included; nil is no limit.
  package var maximumLength: Int?
  /// How many of the best hypotheses of a sentence to return, at most `beamWidth`.
  package var resultCount = 1

  package init() {}

  /// Searches with a model whose session holds `sourceLengths.count` sentences.
  ///
  /// Returns: for each sentence its best hypotheses, best first; at least one.
  /// Precondition: `sourceLengths` count end-of-sequence, and so do limits on the target.
  /// Throws: `Failure` (.badData) if the model's scores are not finite.
  package func search(
    _ model: any StepwiseModel, sourceLengths: [Int]
  ) throws(Failure) -> [[Hypothesis]] {
    precondition(beamWidth >= 1 && (1...beamWidth).contains(resultCount), "impossible beam")
    precondition(lengthPenalty.alpha >= 0, "the stopping bound needs a penalty that grows")
    var sentences = sourceLengths.map { SentenceSearch(self, limit: stepLimit(sourceLength: $0)) }
    while true {
      let open = sentences.indices.filter { !sentences[$0].isDone }
      if open.isEmpty { break }
      let logits = model.advance(open.flatMap { sentences[$0].steps(sentence: $0) })
      var row = 0
      for index in open {
        let count = sentences[index].liveCount
        try sentences[index].extend(logits[rows: row..<row + count], firstRow: row)
        row += count
      }
    }
    return sentences.map { $0.results() }
  }

  /// The most tokens a translation may have, end-of-sequence included.
  package func stepLimit(sourceLength: Int) -> Int {
    max(1, min(sourceLength + lengthOffset, maximumLength ?? .max))
  }
}
