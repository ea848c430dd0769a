import CSentencePiece
import Core

/// A trained sentencepiece model: text to token ids and back, NFKC normalisation included.
///
/// Ids 0, 1 and 2 are `SpecialToken`; encoding never adds begin or end. One tokenizer may be used
/// from several threads at once.
package final class Tokenizer: @unchecked Sendable {
  /// The serialized model, as it lies on disk.
  package let bytes: [UInt8]
  /// The number of token ids; every id is in `0 ..< vocabularySize`.
  package let vocabularySize: Int
  /// Of `bytes`.
  package let digest: Digest
  /// Owned; freed in `deinit`. libsentencepiece only reads a loaded model.
  private let model: OpaquePointer

  /// Loads a serialized model; `origin` names it in errors.
  ///
  /// Throws: `Failure` (.badData) when the bytes are no sentencepiece model, one that could harm
  /// its reader (`TokenizerModel`) or one whose special tokens are not Lockstep's.
  package init(_ bytes: [UInt8], origin: String = "tokenizer model") throws(Failure) {
    func refused(_ reason: String) -> Failure {
      Failure(
        .badData,
        "\(origin): expected a sentencepiece model, found \(bytes.count) bytes that are none"
          + " (\(reason))")
    }
    if let reason = TokenizerModel.refusal(of: bytes) { throw refused(reason) }
    var opened: OpaquePointer?
    let reason = bytes.withUnsafeBufferPointer { raw in
      sentencepiece_open(raw.baseAddress, raw.count, &opened)
    }
    let detail = SentencePiece.text(consuming: reason)
    guard detail == nil, let opened else { throw refused(detail ?? "no model") }
    for (piece, id) in [("<unk>", SpecialToken.unknown), ("<s>", 1), ("</s>", 2)] {
      guard SentencePiece.id(of: piece, in: opened) == id else {
        sentencepiece_close(opened)
        throw Failure(
          .badData,
          "\(origin): expected \(piece) to be token \(id), found another model's special tokens;"
            + " train the tokenizer with lockstep prepare")
      }
    }
    model = opened
    self.bytes = bytes
    vocabularySize = Int(sentencepiece_piece_count(opened))
    digest = Digest(of: bytes)
  }

  deinit { sentencepiece_close(model) }

  /// Token ids of a text, without begin and end.
  ///
  /// Throws: `Failure` (.internal) when libsentencepiece refuses.
  package func encode(_ text: String) throws(Failure) -> [Int32] {
    var ids: UnsafeMutablePointer<Int32>?
    var count = 0
    var text = text
    let reason = text.withUTF8 { utf8 in
      utf8.withMemoryRebound(to: CChar.self) {
        sentencepiece_encode(model, $0.baseAddress, $0.count, &ids, &count)
      }
    }
    try SentencePiece.check(reason, "encode")
    defer { sentencepiece_free(ids) }
    return Array(UnsafeBufferPointer(start: ids, count: count))
  }

  /// Token ids of a text in UTF-8, as `encode` of a `String`.
  func encode(_ text: [UInt8]) throws(Failure) -> [Int32] {
    var ids: UnsafeMutablePointer<Int32>?
    var count = 0
    let reason = text.withUnsafeBufferPointer { utf8 in
      utf8.withMemoryRebound(to: CChar.self) {
        sentencepiece_encode(model, $0.baseAddress, $0.count, &ids, &count)
      }
    }
    try SentencePiece.check(reason, "encode")
    defer { sentencepiece_free(ids) }
    return Array(UnsafeBufferPointer(start: ids, count: count))
  }

  /// The text of token ids; begin and end have none.
  ///
  /// Throws: `Failure` (.badData) when an id is outside of the vocabulary.
  package func decode(_ ids: [Int32]) throws(Failure) -> String {
    var text: UnsafeMutablePointer<CChar>?
    var count = 0
    let reason = ids.withUnsafeBufferPointer {
      sentencepiece_decode(model, $0.baseAddress, $0.count, &text, &count)
    }
    try SentencePiece.check(reason, "decode", .badData)
    return SentencePiece.string(consuming: text, count: count)
  }

  /// One token's piece, as the model spells it (a word's first piece starts with U+2581).
  ///
  /// Throws: `Failure` (.badData) when the id is outside of the vocabulary.
  package func piece(_ id: Int32) throws(Failure) -> String {
    var text: UnsafeMutablePointer<CChar>?
    var count = 0
    let reason = sentencepiece_piece(model, id, &text, &count)
    try SentencePiece.check(reason, "look up a piece", .badData)
    return SentencePiece.string(consuming: text, count: count)
  }
}

/// The funnel that every return value of the C face passes.
enum SentencePiece {
  static func check(
    _ reason: UnsafeMutablePointer<CChar>?, _ verb: String, _ code: ExitCode = .internal
  ) throws(Failure) {
    if let detail = text(consuming: reason) {
      throw Failure(code, "tokenizer: cannot \(verb) (\(detail))")
    }
  }

  /// Copies a zero-terminated text and frees it; nil for none.
  static func text(consuming reason: UnsafeMutablePointer<CChar>?) -> String? {
    guard let reason else { return nil }
    defer { sentencepiece_free(reason) }
    return String(cString: reason)
  }

  /// Copies a text of known length and frees it.
  static func string(consuming text: UnsafeMutablePointer<CChar>?, count: Int) -> String {
    guard let text else { return "" }
    defer { sentencepiece_free(text) }
    return UnsafeBufferPointer(start: text, count: count).withMemoryRebound(to: UInt8.self) {
      String(decoding: $0, as: UTF8.self)
    }
  }

  static func id(of piece: String, in model: OpaquePointer) -> Int32 {
    var piece = piece
    return piece.withUTF8 { utf8 in
      utf8.withMemoryRebound(to: CChar.self) {
        sentencepiece_id(model, $0.baseAddress, $0.count)
      }
    }
  }
}
