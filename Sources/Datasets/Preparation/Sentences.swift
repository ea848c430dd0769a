import Core

/// The sentences of a text.
package enum Sentences {
  /// Cuts a text on one line after a full stop, question or exclamation mark where a capital letter
  /// follows; after abbreviations it is not cut.
  package static func of(_ text: String) -> [String] {
    let characters = Array(text)
    var sentences: [String] = []
    var start = 0
    var index = 0
    while index < characters.count {
      guard "!?.".contains(characters[index]),
        let end = end(after: index, in: characters),
        characters[index] != "." || !isAbbreviation(characters[start..<index])
      else {
        index += 1
        continue
      }
      sentences.append(String(characters[start..<end]))
      start = end + 1
      index = start
    }
    if start < characters.count { sentences.append(String(characters[start...])) }
    return sentences
  }

  /// Where the space stands that ends a sentence, behind its mark and what closes it.
  private static func end(after mark: Int, in characters: [Character]) -> Int? {
    func at(_ index: Int) -> Character? { index < characters.count ? characters[index] : nil }
    let end = at(mark + 1).map { "\"”“«»’)".contains($0) } == true ? mark + 2 : mark + 1
    guard at(end) == " ", let first = at(end + 1) else { return nil }
    let letter = "\"„“«»(".contains(first) ? at(end + 2) : first
    return letter?.isUppercase == true ? end : nil
  }

  /// Whether a full stop after this belongs to its last word: `z. B.`, `e.g.`, `etc.`, `J. Bach`.
  private static func isAbbreviation(_ sentence: ArraySlice<Character>) -> Bool {
    let word = sentence.reversed().prefix { $0 != " " && $0 != "(" }.reversed()
    return word.count == 1 && word.allSatisfy(\.isLetter) || word.contains(".")
      || abbreviations.contains(String(word).lowercased())
  }

  private static let abbreviations: Set<String> = [
    "bzw", "ca", "co", "dr", "etc", "evtl", "ex", "ggf", "inc", "inkl", "ltd", "mr", "mrs", "nr",
    "sog", "st", "usw", "vgl", "vs",
  ]
}

extension TextPair {
  /// Whether the sides are so alike in length that they are likely to be one sentence: stricter
  /// than for what somebody has paired.
  var isBalanced: Bool {
    let (source, target) = (source.unicodeScalars.count, target.unicodeScalars.count)
    return 5 * max(source, target) < 12 * min(source, target)
  }
}
