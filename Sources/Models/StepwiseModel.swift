import Tensors

/// A live hypothesis of a search: which sentence it belongs to, which hypothesis of the previous
/// step it continues, and the token it appends.
package struct HypothesisStep: Equatable, Sendable {
  package var sentence: Int
  /// Row of the previous `advance`; ignored at the first.
  package var parent: Int
  package var token: Int32

  package init(sentence: Int, parent: Int, token: Int32) {
    self.sentence = sentence
    self.parent = parent
    self.token = token
  }
}

/// A model that extends hypotheses by one token at a time and remembers their prefixes, so that a
/// new token does not recompute them.
package protocol StepwiseModel: AnyObject {
  var vocabularySize: Int { get }

  /// Appends one token to each hypothesis and scores what may come next.
  ///
  /// Rows of the result follow `steps`; they are logits, not normalised, and stay valid until the
  /// next call. The first call starts every hypothesis with begin-of-sequence.
  ///
  /// Shapes: result [steps.count, vocabularySize].
  func advance(_ steps: [HypothesisStep]) -> Matrix
}
