import Core
import Datasets
import Testing

/// Models made to lead libsentencepiece out of its memory: it checks none of this.
@Suite struct HostileTokenizerTests {
  private func varint(_ value: UInt64) -> [UInt8] {
    value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F | 0x80)] + varint(value >> 7)
  }

  private func field(_ number: UInt64, _ bytes: [UInt8]) -> [UInt8] {
    varint(number << 3 | 2) + varint(UInt64(bytes.count)) + bytes
  }

  private func field(_ number: UInt64, _ value: UInt64) -> [UInt8] {
    varint(number << 3) + varint(value)
  }

  private func piece(_ text: String, kind: UInt64 = 1, score: Float = 0) -> [UInt8] {
    let bits = score.bitPattern
    let scored = [21] + (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    return field(1, field(1, Array(text.utf8)) + scored + field(3, kind))
  }

  private func model(
    pieces: [UInt8] = [], trainer: [UInt8]? = nil, normalizer: [UInt8]? = nil, more: [UInt8] = []
  ) -> [UInt8] {
    piece("<unk>", kind: 2) + piece("<s>", kind: 3) + piece("</s>", kind: 3) + piece("b") + pieces
      + field(2, trainer ?? field(3, 2)) + field(3, normalizer ?? field(2, table())) + more
  }

  /// A table whose only prefix is a run of the letter a, which becomes `text`.
  private func table(
    length: Int = 1, value: UInt32 = 0, texts: [UInt8] = [0x62, 0],
    arrayByteCount: UInt32? = nil, change: (inout [UInt32]) -> Void = { _ in }
  ) -> [UInt8] {
    var units = [UInt32](repeating: 0x8000_0000, count: 256 * (length + 2))
    // The children of the node after n letters are in block n + 1.
    var place = 0
    for depth in 1...length {
      let children = 256 * depth
      units[place] = units[place] & 0x8000_01FF | UInt32(place ^ children) << 10
      if depth == 1 { units[place] &= 0x7FFF_FFFF }
      place = children ^ 0x61
      units[place] = 0x61
    }
    let end = 256 * (length + 1)
    units[place] |= 0x100 | UInt32(place ^ end) << 10
    units[end] = 0x8000_0000 | value
    change(&units)
    let bytes = units.flatMap { unit in (0..<4).map { UInt8(truncatingIfNeeded: unit >> (8 * $0)) }
    }
    let count = arrayByteCount ?? UInt32(bytes.count)
    return (0..<4).map { UInt8(truncatingIfNeeded: count >> (8 * $0)) } + bytes + texts
  }

  private func refusal(_ bytes: [UInt8]) -> String? {
    failure { _ = try Tokenizer(bytes, origin: "made") }.map {
      #expect($0.exitCode == .badData)
      return $0.message
    }
  }

  private func refusal(table: [UInt8]) -> String? {
    refusal(model(normalizer: field(2, table)))
  }

  /// What the rest damages is sound.
  @Test func aModelMadeByHandIsRead() throws {
    let tokenizer = try Tokenizer(model(normalizer: field(2, table()) + field(3, 0)))
    #expect(try tokenizer.decode(tokenizer.encode("a")) == "b")
    #expect(refusal(table: table(length: 32)) == nil)
    #expect(refusal(table: []) == nil)
  }

  @Test func aTableThatLeadsOutOfItselfIsRefused() {
    #expect(refusal(table: table { $0[0] = 0x3F_FFFF << 10 })?.contains("a way out") == true)
    #expect(
      refusal(table: table { $0[0x161] = 0x161 & 0xFF | 0x100 | 0x1FFF << 10 })?
        .contains("a way out") == true)
    // The library has room for 32 matches, and a circle has no end.
    #expect(refusal(table: table(length: 33))?.contains("longer than 32") == true)
    #expect(
      refusal(table: table { $0[0x161] = 0x61 | 0x100 | 0x61 << 10 })?.contains("table") == true)
    #expect(refusal(table: table { $0[0x161] = 0x61 | 0x61 << 10 })?.contains("longer") == true)
  }

  @Test func replacementsThatAreNoTextsAreRefused() {
    for table in [
      table(value: 2), table(value: 0x7FFF_FFFF), table(texts: [0xFF, 0]),
      table(texts: [UInt8](repeating: 0x62, count: 257) + [0]),
    ] {
      #expect(refusal(table: table)?.contains("no text") == true)
    }
    for table in [
      table(texts: [0x62]), table(texts: []), table(arrayByteCount: 4), table(arrayByteCount: 0),
      table(arrayByteCount: .max), table(arrayByteCount: 4 * 1024), [1, 2, 3],
    ] {
      #expect(refusal(table: table)?.contains("size of its array") == true)
    }
    #expect(
      refusal(table: table(texts: [UInt8](repeating: 0, count: 1 << 20)))?.contains("more") == true)
  }

  @Test func modelsOfAnotherKindThanPreparedAreRefused() {
    let good = field(2, table())
    let bad: [[UInt8]] = [
      model(trainer: []), model(trainer: field(3, 1)), model(trainer: field(3, 2) + field(3, 1)),
      model(trainer: field(3, 2) + field(44, [UInt8](repeating: 0x62, count: 5000))),
      model(pieces: piece("x", kind: 4)), model(pieces: piece("x", kind: 5)),
      model(pieces: piece("x", kind: 6)), model(pieces: piece("x", score: .nan)),
      model(pieces: piece("x", score: .infinity)), model(pieces: piece("")),
      model(pieces: piece("a\0")), model(pieces: piece(String(repeating: "x", count: 257))),
      model(pieces: field(1, field(1, [0xFF]))),
      model(more: field(3, good)), model(more: field(4, [1])), model(more: field(5, [16, 1])),
      model(more: field(5, field(2, table { $0[0] = 0x3F_FFFF << 10 }))),
      model(normalizer: good + good), model(normalizer: good + field(7, 1)),
      model(more: [0x0B]), model(more: [0x08]), model(more: [0x0A, 0xFF]),
      model(more: [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]),
    ]
    for (index, bytes) in bad.enumerated() {
      let found = refusal(bytes)
      #expect(found?.hasPrefix("made: expected a sentencepiece model") == true, "\(index)")
    }
  }
}
