import Core
import Datasets
import Foundation

/// Made-up parallel text with what real text has: repeated pairs, several translations of a text,
/// empty and lopsided pairs, forms that only normalisation makes equal, names, paragraphs of
/// sentences.
struct SampleText {
  private(set) var source: [String] = []
  private(set) var target: [String] = []

  private static let english = [
    "house", "garden", "tree", "old", "green", "sees", "the", "a", "river", "and", "with", "stone",
    "under", "bird", "sings", "window", "open", "ﬁne", "naïve", "“quoted”",
  ]
  private static let german = [
    "Haus", "Garten", "Baum", "alt", "grün", "sieht", "der", "ein", "Fluss", "und", "mit", "Stein",
    "unter", "Vogel", "singt", "Fenster", "offen", "fein", "naiv", "„Zitat“",
  ]

  /// A linear congruential generator, so that others can make the same text.
  init(_ count: Int, seed: UInt64) {
    var state = seed
    func draw(_ limit: UInt64) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int((state >> 33) % limit)
    }
    for _ in 0..<count {
      let words = (0..<3 + draw(6)).map { _ in draw(20) }
      var (english, german) = (
        words.map { Self.english[$0] }.joined(separator: " "),
        words.map { Self.german[$0] }.joined(separator: " ")
      )
      switch draw(25) {
      case 0: english = ""
      case 1: german = " \u{A0}\u{200B}\t"
      case 2: german += String(repeating: " und so weiter", count: 40)
      case 3: english = "e\u{301}t  \(english) \u{7F}"
      case 4: english = "\u{E9}t \(english)"
      case 5: (english, german) = ("the house", "das Haus Nummer \(draw(40))")
      case 6...12:
        let name =
          "\(["Lib", "lib", "GT"][draw(3)])\(["foo", "bar", "K.4", "öl"][draw(4)])\(draw(400))"
        english = "See \(name). The \(english)."
        german = "Siehe \(name). Der \(german)."
      case 13: (english, german) = ("same \(words[0])", "same \(words[0])")
      default: break
      }
      source.append(english)
      target.append(german)
    }
  }

  func text(_ lines: KeyPath<SampleText, [String]>, end: String = "\n") -> String {
    self[keyPath: lines].map { $0 + end }.joined()
  }
}

extension ScratchFolder {
  /// Two files of that text.
  func files(
    _ name: String, _ text: SampleText, end: String = "\n"
  ) throws -> TextInput {
    .files(
      source: try file("\(name).en", text.text(\.source, end: end)),
      target: try file("\(name).de", text.text(\.target, end: end)))
  }

  /// Everything in a prepared folder: one digest.
  ///
  /// - Parameter isWhole: false leaves out the description, whose format changes.
  func digest(of folder: String, isWhole: Bool = true) throws -> Digest {
    try Digest(
      of: names(in: folder).filter {
        isWhole || !["dataset.json", "index.h5"].contains($0)
      }.map {
        "\($0) \(Digest(of: try bytes("\(folder)/\($0)")))"
      }
      .joined(separator: "\n"))
  }
}
