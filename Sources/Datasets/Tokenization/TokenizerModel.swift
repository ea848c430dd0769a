/// What a serialized sentencepiece model may hold before libsentencepiece gets it.
///
/// The library trusts its models: it follows the double array of a normalisation table wherever the
/// numbers in it lead, and counts more matches than it has room for. So a model comes to it only
/// when it is of the kind that `lockstep prepare` trains and every place to which the library could
/// be led has been seen to be inside.
///
/// Source: sentencepiece_model.proto, and `Normalizer` and `bpe::Model` of sentencepiece 0.1.97 and
/// 0.2.0.
struct TokenizerModel {
  static let byteLimit = 16 << 20
  private static let pieceLimit = 1 << 20
  /// Of a piece; those we train have 16 characters.
  private static let pieceByteLimit = 256
  /// Texts in it are repeated for every unknown piece.
  private static let trainerByteLimit = 4096

  /// Why a model is refused; nil for one that is none of its reader's worries.
  static func refusal(of bytes: [UInt8]) -> String? {
    guard bytes.count <= byteLimit else { return "more than \(byteLimit) bytes" }
    do {
      try TokenizerModel().check(bytes[...])
      return nil
    } catch {
      return error.reason
    }
  }

  struct Refusal: Error {
    let reason: String
  }

  private func check(_ model: ArraySlice<UInt8>) throws(Refusal) {
    var pieceCount = 0
    var seen: Set<UInt64> = []
    try forEachField(of: model, "model") { number, value throws(Refusal) in
      guard case .bytes(let bytes) = value, number == 1 || seen.insert(number).inserted else {
        throw Refusal(reason: "field \(number) of the model twice or of another type")
      }
      switch number {
      case 1:
        pieceCount += 1
        try checkPiece(bytes)
      case 2: try checkTrainer(bytes)
      case 3, 5: try checkNormalizer(bytes)
      case 4 where bytes.isEmpty: break
      default: throw Refusal(reason: "field \(number) of the model, which no prepared data has")
      }
    }
    guard 1...Self.pieceLimit ~= pieceCount, seen.isSuperset(of: [2, 3]) else {
      throw Refusal(reason: "\(pieceCount) pieces, or no specification")
    }
  }

  private func checkPiece(_ message: ArraySlice<UInt8>) throws(Refusal) {
    var text: ArraySlice<UInt8>?
    var (kind, isScored) = (UInt64?.none, false)
    try forEachField(of: message, "piece") { number, value throws(Refusal) in
      switch (number, value) {
      case (1, .bytes(let bytes)) where text == nil: text = bytes
      case (2, .fixed32(let bits)) where !isScored && Float(bitPattern: bits).isFinite:
        isScored = true
      case (3, .number(let number)) where kind == nil: kind = number
      default: throw Refusal(reason: "a piece with an impossible field \(number)")
      }
    }
    guard let text, 1...Self.pieceByteLimit ~= text.count, !text.contains(0),
      let spelling = String(validating: text, as: UTF8.self)
    else { throw Refusal(reason: "a piece that is no text") }
    switch kind {
    // Normal (also where nothing is said), unknown, control.
    case nil, 1, 2, 3: break
    case 6 where spelling.wholeMatch(of: /<0x[0-9A-F]{2}>/) != nil: break
    default: throw Refusal(reason: "a piece of a kind that no prepared data has")
    }
  }

  private func checkTrainer(_ message: ArraySlice<UInt8>) throws(Refusal) {
    guard message.count <= Self.trainerByteLimit else {
      throw Refusal(reason: "\(message.count) bytes on how it was trained")
    }
    var kinds: [UInt64] = []
    try forEachField(of: message, "training") { number, value throws(Refusal) in
      guard number == 3 else { return }
      guard case .number(let kind) = value else {
        throw Refusal(reason: "a model type of another type")
      }
      kinds.append(kind)
    }
    guard kinds == [2] else { throw Refusal(reason: "a model that is not of byte pairs") }
  }

  private func checkNormalizer(_ message: ArraySlice<UInt8>) throws(Refusal) {
    var seen: Set<UInt64> = []
    try forEachField(of: message, "normalisation") { number, value throws(Refusal) in
      guard seen.insert(number).inserted else {
        throw Refusal(reason: "field \(number) of its normalisation twice")
      }
      switch (number, value) {
      case (2, .bytes(let table)):
        if let reason = NormalizationTable.refusal(of: table) {
          throw Refusal(reason: "a normalisation table with \(reason)")
        }
      case (1, .bytes), (6, .bytes), (3...5, .number): break
      default: throw Refusal(reason: "field \(number) in its normalisation")
      }
    }
  }

  private func forEachField(
    of message: ArraySlice<UInt8>, _ name: String,
    _ body: (UInt64, ProtocolFields.Value) throws(Refusal) -> Void
  ) throws(Refusal) {
    var fields = ProtocolFields(message)
    while let field = fields.next() { try body(field.number, field.value) }
    if fields.isBroken { throw Refusal(reason: "broken fields of its \(name)") }
  }
}

extension TokenizerModel {
  /// A model without a word on how its text came to the trainer: learned from words, it is byte for
  /// byte the one that is learned from their sentences. What is no model stays as it is.
  static func withoutInputFormat(_ model: [UInt8]) -> [UInt8] {
    rewritten(model[...]) { number, message in
      // The trainer's options, and of those `input_format`.
      guard number == 2 else { return nil }
      return rewritten(message) { option, _ in option == 7 ? [] : nil }.map {
        [2 << 3 | 2] + varint($0.count) + $0
      }
    } ?? model
  }

  /// A message in which texts and messages may be replaced, field and all; nil when it is broken.
  private static func rewritten(
    _ message: ArraySlice<UInt8>,
    _ replacement: (_ number: UInt64, _ value: ArraySlice<UInt8>) -> [UInt8]?
  ) -> [UInt8]? {
    var fields = ProtocolFields(message)
    var result: [UInt8] = []
    var start = message.startIndex
    while let (number, value) = fields.next() {
      let end = message.endIndex - fields.restByteCount
      var new: [UInt8]?
      if case .bytes(let bytes) = value { new = replacement(number, bytes) }
      result += new ?? Array(message[start..<end])
      start = end
    }
    return fields.isBroken ? nil : result
  }

  private static func varint(_ number: Int) -> [UInt8] {
    var (rest, bytes) = (number, [UInt8]())
    while rest > 0x7F {
      bytes.append(UInt8(rest & 0x7F | 0x80))
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }
}
