/// Token sequences laid one after another, without padding.
package struct PackedSequences: Equatable, Sendable {
  /// All tokens, sequence by sequence.
  package var tokens: [Int32]
  /// `offsets[i] ..< offsets[i + 1]` are the tokens of sequence i; the first offset is 0 and the
  /// last is `tokens.count`.
  package var offsets: [Int]

  package init(tokens: [Int32] = [], offsets: [Int] = [0]) {
    precondition(offsets.first == 0 && offsets.last == tokens.count, "offsets must span the tokens")
    self.tokens = tokens
    self.offsets = offsets
  }

  package init(_ sequences: [[Int32]]) {
    self.init()
    for sequence in sequences { append(sequence) }
  }

  /// The number of sequences.
  package var count: Int { offsets.count - 1 }

  package func length(_ sequence: Int) -> Int { offsets[sequence + 1] - offsets[sequence] }

  package mutating func append(_ sequence: some Collection<Int32>) {
    tokens.append(contentsOf: sequence)
    offsets.append(tokens.count)
  }
}

/// The unit of computation: sentence pairs that run through the model together.
///
/// Sequence i of `source`, `targetInput` and `targetOutput` belong to one pair. A source ends with
/// end-of-sequence; a target input is begin-of-sequence followed by the target, a target output the
/// target followed by end-of-sequence, so both have the same offsets.
package struct MicroBatch: Equatable, Sendable {
  package var source: PackedSequences
  package var targetInput: PackedSequences
  /// What the decoder has to predict at each position of `targetInput`.
  package var targetOutput: [Int32]

  package init(source: PackedSequences, targetInput: PackedSequences, targetOutput: [Int32]) {
    precondition(source.count == targetInput.count, "one source for one target")
    precondition(targetInput.tokens.count == targetOutput.count, "one output for one input token")
    self.source = source
    self.targetInput = targetInput
    self.targetOutput = targetOutput
  }

  /// Packs sentence pairs given without special tokens.
  package init(pairs: [(source: [Int32], target: [Int32])]) {
    self.init(
      source: PackedSequences(pairs.map { $0.source + [SpecialToken.end] }),
      targetInput: PackedSequences(pairs.map { [SpecialToken.begin] + $0.target }),
      targetOutput: pairs.flatMap { $0.target + [SpecialToken.end] })
  }

  package var pairCount: Int { source.count }
}

/// Token ids every vocabulary of Lockstep reserves.
package enum SpecialToken {
  package static let unknown: Int32 = 0
  package static let begin: Int32 = 1
  package static let end: Int32 = 2
}
