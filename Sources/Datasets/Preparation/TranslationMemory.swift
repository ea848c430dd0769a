import Core

/// Pairs in TMX, the exchange format of translation memories, taken apart into a file for each
/// language.
///
/// Of the XML it knows what TMX needs: `tu`, `tuv` with its language, `seg`; elements inside of a
/// `seg` are marks of formatting, whose own text (`bpt`, `ept`, `it`, `ph`, `ut`) is code and is
/// left out. Line feeds of a segment become spaces.
///
/// Source: TMX 1.4b (LISA/GALA).
struct TranslationMemory {
  private let name: String
  private let languages: [String]
  private let outputs: [OutputFile]
  /// A tag or a text between tags, as far as it has come.
  private var part: [UInt8] = []
  private var isInTag = false
  private var lineCount = 1
  private var isFirst = true

  private var isInUnit = false
  private var language = ""
  private var isInSegment = false
  /// Names of open elements inside of a segment.
  private var inner: [String] = []
  private var segment: [UInt8] = []
  /// By side, of the unit that is open.
  private var found: [[UInt8]?] = [nil, nil]
  private var unitCount = 0
  private var incompleteCount = 0
  private var firstIncomplete = 0

  private static let code: Set<String> = ["bpt", "ept", "it", "ph", "ut"]
  /// A tag or a text longer than this is no translation.
  private static let partLimit = 16 << 20

  init(name: String, languages: Languages, outputs: [String]) throws(Failure) {
    self.name = name
    self.languages = [languages.source, languages.target].map { $0.lowercased() }
    self.outputs = try outputs.map { (path) throws(Failure) in try OutputFile(path) }
  }

  /// Throws: `Failure` (.badData) for what is no TMX, with the line.
  mutating func add(_ bytes: ArraySlice<UInt8>) throws(Failure) {
    if isFirst, let encoding = LineTable.otherEncoding(Array(bytes.prefix(1024))) {
      throw Failure(.badData, TextFile.refusal(of: encoding, name: name))
    }
    isFirst = false
    for byte in bytes {
      if byte == UInt8(ascii: "\n") { lineCount += 1 }
      if !isInTag, byte == UInt8(ascii: "<") {
        try endText()
        isInTag = true
      } else if isInTag, byte == UInt8(ascii: ">"), endsTag {
        try endTag()
        isInTag = false
      } else {
        part.append(byte)
        guard part.count <= Self.partLimit else { throw refusal("no end of a tag or a text") }
      }
    }
  }

  /// Returns: what a person should know of units that gave no pair; empty when all did.
  mutating func finish() throws(Failure) -> String {
    guard !isInTag, !isInUnit else { throw refusal("its end inside of a unit") }
    for output in outputs { try output.flush() }
    guard unitCount > 0 else { throw refusal("no units (tu)") }
    guard incompleteCount < unitCount else {
      throw Failure(
        .badData,
        "\(name): expected units with text in \(languages[0]) and \(languages[1]), found none among"
          + " \(unitCount); name the languages with --source-language and --target-language")
    }
    return incompleteCount == 0
      ? ""
      : "\(name): \(incompleteCount) of \(unitCount) units lack one of the languages, the first is"
        + " unit \(firstIncomplete)"
  }

  private func refusal(_ found: String) -> Failure {
    Failure(
      .badData, "\(name): line \(lineCount): expected a translation memory (TMX), found \(found)")
  }

  /// Comments and CDATA may have `>` in them.
  private var endsTag: Bool {
    if part.starts(with: Array("!--".utf8)) {
      return part.count >= 5 && part.suffix(2) == Array("--".utf8)[...]
    }
    if part.starts(with: Array("![CDATA[".utf8)) { return part.suffix(2) == Array("]]".utf8)[...] }
    return true
  }

  private mutating func endText() throws(Failure) {
    defer { part.removeAll(keepingCapacity: true) }
    guard isInSegment, !inner.contains(where: Self.code.contains) else { return }
    guard let text = String(validating: part, as: UTF8.self) else {
      throw Failure(
        .badData, "\(name): line \(lineCount): expected UTF-8 text, found other bytes")
    }
    segment.append(contentsOf: try resolved(text).utf8)
  }

  private mutating func endTag() throws(Failure) {
    defer { part.removeAll(keepingCapacity: true) }
    let cdata = Array("![CDATA[".utf8)
    if part.starts(with: cdata) {
      if isInSegment { segment += part.dropFirst(cdata.count).dropLast(2) }
      return
    }
    guard let first = part.first, first != UInt8(ascii: "!"), first != UInt8(ascii: "?") else {
      return
    }
    guard let tag = String(validating: part, as: UTF8.self) else {
      throw refusal("a tag that is not UTF-8")
    }
    let isEnd = tag.hasPrefix("/")
    let isEmpty = tag.hasSuffix("/")
    let element = String(
      tag.drop { $0 == "/" }.prefix { !$0.isWhitespace && $0 != "/" })
    if isInSegment, element != "seg" {
      if isEnd {
        if inner.last == element { inner.removeLast() }
      } else if !isEmpty {
        inner.append(element)
      }
      return
    }
    switch (element, isEnd) {
    case ("tu", false):
      guard !isInUnit else { throw refusal("a unit (tu) inside of another") }
      isInUnit = true
      found = [nil, nil]
    case ("tu", true): try endUnit()
    case ("tuv", false): language = Self.language(in: tag)
    case ("seg", false):
      isInSegment = !isEmpty
      inner = []
      segment.removeAll(keepingCapacity: true)
    case ("seg", true):
      isInSegment = false
      for side in [0, 1] where found[side] == nil && isLanguage(languages[side]) {
        found[side] = segment
      }
    default: break
    }
  }

  private mutating func endUnit() throws(Failure) {
    guard isInUnit else { throw refusal("the end of a unit (tu) that did not begin") }
    isInUnit = false
    unitCount += 1
    if found.contains(nil) {
      incompleteCount += 1
      if incompleteCount == 1 { firstIncomplete = unitCount }
    }
    // A unit that lacks a side is an empty pair, so that pairs and units have the same numbers.
    let isComplete = !found.contains(nil)
    for (output, text) in zip(outputs, found) {
      let line = isComplete ? text ?? [] : []
      try output.writeLine(
        line.map { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") ? 0x20 : $0 })
    }
  }

  /// `en` is `en-GB`, too.
  private func isLanguage(_ wanted: String) -> Bool {
    language == wanted || language.hasPrefix(wanted + "-") || language.hasPrefix(wanted + "_")
  }

  private static func language(in tag: String) -> String {
    let found = tag.firstMatch(of: /\s(?:xml:)?lang\s*=\s*(?:"([^"]*)"|'([^']*)')/)
    return (found?.1 ?? found?.2 ?? "").lowercased()
  }

  /// Text with its character references resolved.
  private func resolved(_ text: String) throws(Failure) -> String {
    guard text.contains("&") else { return text }
    var result = String.UnicodeScalarView()
    var rest = text.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      guard scalar == "&" else {
        result.append(scalar)
        continue
      }
      guard let end = rest.prefix(12).firstIndex(of: ";"),
        let meant = Self.character(String(rest[..<end]))
      else { throw refusal("an unknown reference (&) in a segment") }
      result.append(meant)
      rest = rest[rest.index(after: end)...]
    }
    return String(result)
  }

  private static func character(_ name: String) -> Unicode.Scalar? {
    switch name {
    case "amp": return "&"
    case "lt": return "<"
    case "gt": return ">"
    case "quot": return "\""
    case "apos": return "'"
    default: break
    }
    guard name.hasPrefix("#") else { return nil }
    let digits = name.dropFirst()
    let number =
      digits.hasPrefix("x") ? UInt32(digits.dropFirst(), radix: 16) : UInt32(digits, radix: 10)
    return number.flatMap(Unicode.Scalar.init)
  }
}
