import Core
import Foundation

/// One sentence, or paragraph, in two languages.
package struct TextPair: Equatable, Sendable {
  package var source: String
  package var target: String

  package init(source: String, target: String) {
    self.source = source
    self.target = target
  }

  /// The pair with each side on one line: white space and control characters become single
  /// spaces, none at either end.
  var onOneLine: TextPair {
    TextPair(source: TextPair.onOneLine(source), target: TextPair.onOneLine(target))
  }

  var hasEmptySide: Bool { source.isEmpty || target.isEmpty }

  /// One side is so much longer that it hardly translates the other.
  var isLopsided: Bool {
    Self.isLopsided(source.unicodeScalars.count, target.unicodeScalars.count)
  }

  /// Whether one of two numbers of characters is that much larger.
  static func isLopsided(_ source: Int, _ target: Int) -> Bool {
    max(source, target) > lopsidedFactor * min(source, target) + lopsidedSlack
  }

  /// Characters by which short texts may differ whatever their ratio.
  private static let lopsidedSlack = 20
  private static let lopsidedFactor = 3

  /// Equal for texts that are the same after NFKC normalisation.
  package static func identity(of text: String) -> Digest {
    Digest(
      of: text.utf8.allSatisfy { $0 < 0x80 } ? text : text.precomposedStringWithCompatibilityMapping
    )
  }

  /// Equal for pairs that are the same after NFKC normalisation.
  var identity: Digest {
    let sides = [TextPair.identity(of: source), TextPair.identity(of: target)]
    return Digest(of: sides.map(\.description).joined())
  }

  package static func onOneLine(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    var pendingSpace = false
    for scalar in text.unicodeScalars {
      if isSpace(scalar) {
        pendingSpace = !result.isEmpty
      } else {
        if pendingSpace { result.append(" ") }
        pendingSpace = false
        result.append(scalar)
      }
    }
    return String(result)
  }

  /// No white space to Unicode, but to the tokenizer's normalisation (nmt_nfkc): texts that differ
  /// in nothing else are the same to the model.
  private static let spacesOfTokenizer: Set<UInt32> = [
    0x200B, 0x200E, 0x200F, 0x2581, 0xFEFF, 0xFFFD,
  ]

  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.value < 0x7F { return scalar.value <= 0x20 }
    return scalar.value < 0xA0 || scalar.properties.isWhitespace
      || spacesOfTokenizer.contains(scalar.value)
  }
}
