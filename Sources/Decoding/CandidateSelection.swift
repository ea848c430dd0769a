import Core
import Foundation
import Tensors

/// One way to extend a live hypothesis by a token.
struct Candidate: Equatable, Sendable {
  /// Of the whole hypothesis with the token.
  var logProbability: Double
  /// Index of the extended hypothesis among the live ones of its sentence.
  var parent: Int
  var token: Int32
}

/// Keeps the best `capacity` candidates seen: higher log-probability first; equal ones in the order
/// they came, which is parent, then token.
struct CandidateSelection {
  private let capacity: Int
  private(set) var best: [Candidate] = []
  /// A candidate must exceed this to be kept.
  private var bar = -Double.infinity

  init(capacity: Int) {
    precondition(capacity > 0, "a selection keeps at least one candidate")
    self.capacity = capacity
    best.reserveCapacity(capacity + 1)
  }

  /// Offers every token after one hypothesis, given the model's scores for them.
  ///
  /// Throws: `Failure` if a score is NaN or +infinity; -infinity rules a token out.
  mutating func offer(
    logits: Vector, parent: Int, parentLogProbability: Double
  ) throws(Failure) {
    let (maximum, logSum) = Self.maximumAndLogSum(logits)
    guard logSum.isFinite else {
      throw Failure(
        .badData,
        "translation: the model's scores of the next token are not finite; "
          + "the checkpoint's weights have diverged, use an earlier one")
    }
    for token in 0..<logits.count {
      let logProbability = parentLogProbability + ((Double(logits.base[token]) - maximum) - logSum)
      if logProbability > bar {
        insert(Candidate(logProbability: logProbability, parent: parent, token: Int32(token)))
      }
    }
  }

  private mutating func insert(_ candidate: Candidate) {
    let place =
      best.firstIndex { $0.logProbability < candidate.logProbability } ?? best.endIndex
    best.insert(candidate, at: place)
    if best.count > capacity { best.removeLast() }
    if best.count == capacity { bar = best[capacity - 1].logProbability }
  }

  /// m = max x and log(sum exp(x - m)), so that log softmax(x) = (x - m) - logSum; in Double.
  ///
  /// The two are kept apart: added up, a large maximum would swallow the sum.
  /// Order: elements from first to last, so a row's value depends on nothing but the row.
  private static func maximumAndLogSum(_ logits: Vector) -> (maximum: Double, logSum: Double) {
    let values = UnsafeBufferPointer(start: logits.base, count: logits.count)
    var maximum = -Float.infinity
    for value in values { maximum = value > maximum ? value : maximum }
    guard maximum.isFinite else { return (Double(maximum), .nan) }
    var sum = 0.0
    for value in values { sum += exp(Double(value) - Double(maximum)) }
    return (Double(maximum), log(sum))
  }
}
