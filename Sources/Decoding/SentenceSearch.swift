import Core
import Models
import Tensors

/// The beam of one sentence.
struct SentenceSearch {
  private struct Live {
    var tokens: [Int32]
    var logProbability: Double
    /// Row of the last `advance` this hypothesis extends.
    var parentRow: Int
  }

  private let search: BeamSearch
  /// The most tokens a hypothesis may have, end-of-sequence included.
  private let limit: Int
  /// Most probable first; all of the same length.
  private var live: [Live]
  /// Best score first; equal scores in the order they were found.
  private var finished: [Hypothesis] = []
  private var length = 0
  private(set) var isDone = false

  init(_ search: BeamSearch, limit: Int) {
    self.search = search
    self.limit = limit
    live = [Live(tokens: [], logProbability: 0, parentRow: 0)]
  }

  var liveCount: Int { live.count }

  /// What the model has to be asked next, a row for each live hypothesis.
  func steps(sentence: Int) -> [HypothesisStep] {
    live.map {
      HypothesisStep(
        sentence: sentence, parent: $0.parentRow, token: $0.tokens.last ?? SpecialToken.begin)
    }
  }

  /// Takes the answer to `steps`: finishes, replaces or ends the live hypotheses.
  mutating func extend(_ logits: Matrix, firstRow: Int) throws(Failure) {
    // Each live hypothesis ends in one way only, so half of the candidates live on.
    let isGreedy = search.beamWidth == 1
    var selection = CandidateSelection(capacity: isGreedy ? 1 : 2 * search.beamWidth)
    for parent in live.indices {
      try selection.offer(
        logits: logits[parent], parent: parent,
        parentLogProbability: live[parent].logProbability)
    }
    length += 1
    var next: [Live] = []
    for candidate in selection.best {
      let tokens = live[candidate.parent].tokens
      if candidate.token == SpecialToken.end {
        finish(tokens, candidate.logProbability, isComplete: true)
      } else if next.count < search.beamWidth {
        next.append(
          Live(
            tokens: tokens + [candidate.token], logProbability: candidate.logProbability,
            parentRow: firstRow + candidate.parent))
      }
    }
    live = next
    isDone = length == limit || !canImprove
    if isDone && finished.isEmpty {
      for hypothesis in live {
        finish(hypothesis.tokens, hypothesis.logProbability, isComplete: false)
      }
    }
  }

  /// The best hypotheses, best first.
  func results() -> [Hypothesis] { Array(finished.prefix(search.resultCount)) }

  /// Whether a live hypothesis could still enter the results. Log-probabilities only fall, so the
  /// best score in reach is the present one under the penalty of the longest hypothesis.
  private var canImprove: Bool {
    guard let best = live.first else { return false }
    guard finished.count >= search.resultCount else { return true }
    let bound = best.logProbability / search.lengthPenalty.value(length: limit)
    return bound > finished[search.resultCount - 1].score
  }

  private mutating func finish(_ tokens: [Int32], _ logProbability: Double, isComplete: Bool) {
    let score = logProbability / search.lengthPenalty.value(length: length)
    let place = finished.firstIndex { $0.score < score } ?? finished.endIndex
    finished.insert(
      Hypothesis(
        tokens: tokens, score: score, logProbability: logProbability, isComplete: isComplete),
      at: place)
    if finished.count > search.beamWidth { finished.removeLast() }
  }
}
