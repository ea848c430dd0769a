import Core
import Decoding

/// A checkpoint's model and its tokenizer, ready to translate.
struct LoadedTranslator {
  let model: TrainedTransformer
  let encode: Translator.Encode
  let decode: Translator.Decode

  var translator: Translator { Translator(model: model, encode: encode, decode: decode) }
}

/// Opens a checkpoint and the tokenizer it was trained with.
///
/// Throws: `Failure` if either is missing, damaged or of another vocabulary size.
func loadTranslator(checkpoint: String) throws -> LoadedTranslator {
  throw Failure(.internal, "\(checkpoint): this build cannot read checkpoints")
}

/// The sentence pairs of one split of a prepared dataset.
///
/// Throws: `Failure` if they are missing or were prepared with another tokenizer.
func loadReferencePairs(
  data: String, split: String, for translator: LoadedTranslator
) throws -> [ReferencePair] {
  throw Failure(.internal, "\(data): this build cannot read datasets")
}
