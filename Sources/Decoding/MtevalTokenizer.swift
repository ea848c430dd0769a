/// Splits text into words as the WMT scoring script mteval-v13a does: sacreBLEU's `tok:13a`.
///
/// Works on Unicode scalars, never on grapheme clusters, because the original's patterns see code
/// points: a combining accent is a character of its own, and canonically equal spellings differ.
///
/// Source: sacreBLEU 2.6, tokenizer `13a`; the four substitutions are applied one after another.
package enum MtevalTokenizer {
  package static func words(_ line: String) -> [String] {
    var text = withoutTrailingWhitespace(Array(line.unicodeScalars))
    text = replacing("<skipped>", with: "", in: text)
    text = replacing("-\n", with: "", in: text)
    text = replacing("\n", with: " ", in: text)
    if text.contains("&") {
      // In this order: `&amp;lt;` ends as `<`.
      text = replacing("&quot;", with: "\"", in: text)
      text = replacing("&amp;", with: "&", in: text)
      text = replacing("&lt;", with: "<", in: text)
      text = replacing("&gt;", with: ">", in: text)
    }
    // Both ends are spaces, so that every mark has a neighbour.
    text = spacingSymbols([" "] + text + [" "])
    text = spacingPairs(text, where: { !isDigit($0) && isStop($1) }) { [$0, " ", $1, " "] }
    text = spacingPairs(text, where: { isStop($0) && !isDigit($1) }) { [" ", $0, " ", $1] }
    text = spacingPairs(text, where: { isDigit($0) && $1 == "-" }) { [$0, " ", $1, " "] }
    return text.split(whereSeparator: isWhitespace).map { word in
      var string = String.UnicodeScalarView()
      string.append(contentsOf: word)
      return String(string)
    }
  }

  // MARK: Substitutions

  private static func spacingSymbols(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count * 2)
    for scalar in text {
      if isSymbol(scalar) {
        result += [" ", scalar, " "]
      } else {
        result.append(scalar)
      }
    }
    return result
  }

  /// Replaces neighbours that match, from the left and without overlap, as a regular expression of
  /// two characters does.
  private static func spacingPairs(
    _ text: [Unicode.Scalar], where matches: (Unicode.Scalar, Unicode.Scalar) -> Bool,
    _ replacement: (Unicode.Scalar, Unicode.Scalar) -> [Unicode.Scalar]
  ) -> [Unicode.Scalar] {
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count * 2)
    var index = 0
    while index < text.count {
      if index + 1 < text.count, matches(text[index], text[index + 1]) {
        result += replacement(text[index], text[index + 1])
        index += 2
      } else {
        result.append(text[index])
        index += 1
      }
    }
    return result
  }

  private static func replacing(
    _ pattern: String, with replacement: String, in text: [Unicode.Scalar]
  ) -> [Unicode.Scalar] {
    let pattern = Array(pattern.unicodeScalars)
    var result: [Unicode.Scalar] = []
    result.reserveCapacity(text.count)
    var index = 0
    while index < text.count {
      if text[index] == pattern[0], text[index...].starts(with: pattern) {
        result.append(contentsOf: replacement.unicodeScalars)
        index += pattern.count
      } else {
        result.append(text[index])
        index += 1
      }
    }
    return result
  }

  private static func withoutTrailingWhitespace(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
    guard let last = text.lastIndex(where: { !isWhitespace($0) }) else { return [] }
    return Array(text[...last])
  }

  // MARK: Classes of characters

  /// ASCII symbols that always stand alone; not the apostrophe, comma, hyphen and full stop.
  private static func isSymbol(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case " "..."&", "("..."+", "/", ":"..."@", "["..."`", "{"..."~": true
    default: false
    }
  }

  private static func isDigit(_ scalar: Unicode.Scalar) -> Bool { ("0"..."9").contains(scalar) }

  private static func isStop(_ scalar: Unicode.Scalar) -> Bool { scalar == "." || scalar == "," }

  /// What Python's `str.split()` splits at: Unicode's White_Space and the four ASCII separators.
  private static func isWhitespace(_ scalar: Unicode.Scalar) -> Bool {
    scalar.properties.isWhitespace || ("\u{1C}"..."\u{1F}").contains(scalar)
  }
}
