import CSentencePiece
import Core

/// How a shared vocabulary of byte-pair pieces is learnt from text.
///
/// The result is a function of the options and the sentences in their order: one thread, no random
/// sampling.
package struct TokenizerTraining: Sendable {
  /// The number of pieces wanted, special tokens included; a text with fewer possible merges gives
  /// a smaller vocabulary.
  package var vocabularySize: Int
  /// Spells characters outside of the vocabulary as 256 byte pieces, so that no text is unknown.
  package var byteFallback: Bool
  /// The share of the text's characters that become pieces of their own.
  package var characterCoverage: Double

  /// Learning from more sentences than this changes few pieces and takes memory: every k-th is
  /// taken.
  static let maximumSentences = 4_000_000

  package init(
    vocabularySize: Int, byteFallback: Bool = true, characterCoverage: Double = 0.9999
  ) {
    self.vocabularySize = vocabularySize
    self.byteFallback = byteFallback
    self.characterCoverage = characterCoverage
  }

  /// Learns the vocabulary.
  ///
  /// Throws: `Failure` (.badData) when the sentences cannot give such a vocabulary: no text, or
  /// more different characters than pieces.
  package func train(on sentences: [String]) throws(Failure) -> Tokenizer {
    var text: [UInt8] = []
    var ends: [UInt64] = []
    let stride = max(1, (sentences.count + Self.maximumSentences - 1) / Self.maximumSentences)
    for index in Swift.stride(from: 0, to: sentences.count, by: stride) {
      text.append(contentsOf: sentences[index].utf8)
      ends.append(UInt64(text.count))
    }
    guard !text.isEmpty else {
      throw Failure(.badData, "tokenizer: expected training text, found none")
    }
    var bytes: UnsafeMutablePointer<UInt8>?
    var count = 0
    let reason = text.withUnsafeBufferPointer { utf8 in
      utf8.withMemoryRebound(to: CChar.self) { characters in
        ends.withUnsafeBufferPointer { ends in
          sentencepiece_train(
            options, characters.baseAddress, ends.baseAddress, ends.count, &bytes, &count)
        }
      }
    }
    if let detail = SentencePiece.text(consuming: reason) {
      // What the trainer advises then are options of its own.
      let advice = detail.contains("required_chars") ? "; ask for a larger --vocabulary" : ""
      let cause = detail.replacing(/\s*Increase vocab_size.*/, with: "")
      throw Failure(
        .badData,
        "tokenizer: cannot learn \(vocabularySize) pieces from \(ends.count) sentences"
          + " (\(cause))\(advice)")
    }
    defer { sentencepiece_free(bytes) }
    return try Tokenizer(Array(UnsafeBufferPointer(start: bytes, count: count)))
  }

  /// The trainer's own options.
  var options: String {
    [
      "--model_type=bpe", "--vocab_size=\(vocabularySize)",
      // Too little text gives fewer pieces instead of an error.
      "--hard_vocab_limit=false",
      "--normalization_rule_name=nmt_nfkc", "--byte_fallback=\(byteFallback)",
      "--character_coverage=\(characterCoverage)",
      "--unk_id=\(SpecialToken.unknown)", "--bos_id=\(SpecialToken.begin)",
      "--eos_id=\(SpecialToken.end)", "--pad_id=-1",
      // Longer lines would be left out without a word.
      "--max_sentence_length=\(1 << 24)",
      "--num_threads=1", "--shuffle_input_sentence=false", "--minloglevel=2",
    ].joined(separator: " ")
  }
}
