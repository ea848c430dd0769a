import Core

/// How a shared vocabulary of byte-pair pieces is learnt from text.
///
/// The result is a function of the options and of how often each word occurs: one thread, no random
/// sampling.
package struct TokenizerTraining: Sendable {
  /// The number of pieces wanted, special tokens included; a text with fewer possible merges gives
  /// a smaller vocabulary.
  package var vocabularySize: Int
  /// Spells characters outside of the vocabulary as 256 byte pieces, so that no text is unknown.
  package var byteFallback: Bool
  /// The share of the text's characters that become pieces of their own.
  package var characterCoverage: Double

  /// The trainer takes about 900 bytes for a word; rarer ones change few pieces.
  static let mostWords = 200_000

  package init(
    vocabularySize: Int, byteFallback: Bool = true, characterCoverage: Double = 0.9999
  ) {
    self.vocabularySize = vocabularySize
    self.byteFallback = byteFallback
    self.characterCoverage = characterCoverage
  }

  /// Learns the vocabulary from sentences, in a process of its own.
  ///
  /// - Parameter progress: hears what no piece is learned from.
  /// Throws: as `train(on:progress:)` of words.
  package func train(
    on sentences: [String], progress: (String) -> Void = { _ in }
  ) throws(Failure) -> Tokenizer {
    var text = LearningText()
    for sentence in sentences { text.append(Array(sentence.utf8)) }
    var words = LearningWords(textCount: text.textCount, omissions: text.omissions)
    var choice = WordChoice(text.words.countsOfCounts, limit: Self.mostWords)
    var ties: [UInt64] = []
    try text.words.forEach { (_, hash, count) throws(Failure) in
      if count == choice.leastCount - 1 { ties.append(hash) }
    }
    choice.choose(among: ties)
    try text.words.forEach { (word, hash, count) throws(Failure) in
      if choice.takes(hash, count: count) { words.append(word, count: count) }
    }
    return try train(on: words, progress: progress)
  }

  /// Learns the vocabulary from words, in a process of its own.
  ///
  /// - Parameter progress: hears what no piece is learned from.
  /// Throws: `Failure`: .badData when the words cannot give such a vocabulary, as there are none or
  /// more different characters than pieces; .internal when the process dies of them or cannot be
  /// started.
  func train(
    on words: LearningWords, progress: (String) -> Void
  ) throws(Failure) -> Tokenizer {
    let omissions = "\(words.omissions)"
    if !omissions.isEmpty { progress("no pieces are learned from \(omissions)") }
    guard !words.ends.isEmpty else {
      throw Failure(
        .badData,
        "tokenizer: expected training text, found none"
          + (omissions.isEmpty ? "" : " but for \(omissions)"))
    }
    let count = words.textCount
    switch try TokenizerRequest.answer(to: words, options: options) {
    case .model(let bytes): return try Tokenizer(TokenizerModel.withoutInputFormat(bytes))
    case .reason(let detail):
      // What the trainer advises then are options of its own.
      let advice = detail.contains("required_chars") ? "; ask for a larger --vocabulary" : ""
      let cause = detail.replacing(/\s*Increase vocab_size.*/, with: "")
      throw Failure(
        .badData,
        "tokenizer: cannot learn \(vocabularySize) pieces from \(count) sentences"
          + " (\(cause))\(advice)")
    case .died(let how):
      throw Failure(
        .internal,
        "tokenizer: the process that learns \(vocabularySize) pieces from \(count) sentences died"
          + " (\(how)); leave out what is no sentence, or take fewer")
    }
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
      // Words with their counts, instead of sentences.
      "--input_format=tsv",
      // Longer lines would be left out without a word.
      "--max_sentence_length=\(1 << 24)",
      "--num_threads=1", "--shuffle_input_sentence=false", "--minloglevel=2",
    ].joined(separator: " ")
  }
}
