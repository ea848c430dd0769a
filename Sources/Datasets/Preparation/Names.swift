import Core

/// Names: words that translations keep as they are, of programs, people and formats.
///
/// A small corpus shows each of them in a few pairs, which a model learns by heart. Pairs in which
/// they are exchanged for one another teach it to copy, which is what an unseen name needs.
struct Names: Sendable {
  /// The names by how they are written, so that one stands where another could; in order.
  private let byShape: [Shape: [Substring]]
  private let all: Set<Substring>

  /// Upper case and digits decide how a name is taken up: `libfoo`, `Foo`, `FOO`.
  private struct Shape: Hashable, Sendable {
    let beginsUpper: Bool
    let isUpper: Bool
    let isLower: Bool

    init(_ name: Substring) {
      beginsUpper = name.first?.isUppercase == true
      isUpper = !name.contains(where: \.isLowercase)
      isLower = !name.contains(where: \.isUppercase)
    }
  }

  /// In how many pairs a name may be: what is in more of them is learned well enough.
  private static let mostPairs = 100
  /// Shorter words are kept by accident.
  private static let leastCharacters = 3

  init(_ names: [String]) {
    let names = names.map { Substring($0) }
    all = Set(names)
    byShape = Dictionary(grouping: names.sorted(), by: Shape.init)
  }

  /// Whether a word nearly always occurs on both sides.
  ///
  /// - Parameters:
  ///   - pairs: in how many pairs it is on the source side.
  ///   - keeping: in how many of these it is on the target side, too.
  static func isName(_ word: String, pairs: Int, keeping: Int) -> Bool {
    keeping > 0 && 5 * keeping > 3 * pairs && pairs <= mostPairs
      && word.count >= leastCharacters && word.contains(where: \.isLetter)
  }

  /// The pair with each name that both sides share exchanged for another one; nil where there is
  /// none.
  func exchanged(in pair: TextPair, drawing stream: RandomStream) -> TextPair? {
    let kept = Set(Self.words(of: pair.target))
    var others: [Substring: Substring] = [:]
    for word in Self.words(of: pair.source)
    where all.contains(word) && kept.contains(word) && others[word] == nil {
      guard let choices = byShape[Shape(word)] else { continue }
      let draw = stream.uniform(at: others.count)
      others[word] = choices[Int(draw * Double(choices.count))]
    }
    guard !others.isEmpty else { return nil }
    return TextPair(
      source: Self.replacing(others, in: pair.source),
      target: Self.replacing(others, in: pair.target))
  }

  private static func replacing(_ others: [Substring: Substring], in text: String) -> String {
    pieces(of: text).map { others[$0] ?? $0 }.joined()
  }

  static func words(of text: String) -> [Substring] {
    pieces(of: text).filter { $0.unicodeScalars.first.map(isWordScalar) == true }
  }

  /// A text cut into words and what is between them. A word is letters and digits, with full stops
  /// and plus signs inside; parts of compounds (`GTK-Anwendung`) are words of their own.
  private static func pieces(of text: String) -> [Substring] {
    let scalars = text.unicodeScalars
    var pieces: [Substring] = []
    var start = scalars.startIndex
    while start < scalars.endIndex {
      let isWord = isWordScalar(scalars[start])
      var end = scalars.index(after: start)
      while end < scalars.endIndex {
        let scalar = scalars[end]
        if isWordScalar(scalar) == isWord {
          end = scalars.index(after: end)
        } else if isWord, scalar == "." || scalar == "+",
          scalars[end...].dropFirst().first.map(isWordScalar) == true
        {
          end = scalars.index(end, offsetBy: 2)
        } else {
          break
        }
      }
      pieces.append(text[start..<end])
      start = end
    }
    return pieces
  }

  private static func isWordScalar(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII {
      return switch scalar {
      case "a"..."z", "A"..."Z", "0"..."9", "_": true
      default: false
      }
    }
    return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
  }
}
