import Core

/// Parallel text from Debian's package descriptions, which volunteers translate (DDTP).
///
/// A description and its translation share the MD5 sum of the English text. Both consist of a
/// synopsis and paragraphs with a line " ." between them; lines indented by two or more spaces are
/// verbatim (lists, tables) and are left out, but for the items of lists that are as long in both.
package struct DebianDescriptions: Sendable {
  /// Contents of Translation-en, of the other language's Translation file and of Packages, each
  /// possibly of several archives; of equal entries the first counts.
  package var english: [[UInt8]]
  package var translated: [[UInt8]]
  package var packages: [[UInt8]]
  /// As in the field `Description-de`.
  package var language: String

  package init(
    english: [[UInt8]], translated: [[UInt8]], packages: [[UInt8]], language: String
  ) {
    self.english = english
    self.translated = translated
    self.packages = packages
    self.language = language
  }

  /// Of 100 source packages, how many are for testing, and as many again for validation.
  private static let heldOutPercent: UInt64 = 3

  /// Descriptions that were there in both languages, and those of them that did not fit together.
  package struct Alignment: Sendable, Equatable {
    package var documents = 0
    package var unequalParagraphs = 0
  }

  /// One part of a description: the synopsis, or a paragraph with the items of its list.
  private struct Part {
    var text = ""
    var items: [String] = []
  }

  /// All pairs, split by source package so that no description's variants fall into two splits;
  /// items of lists are for training only.
  package func aligned() -> (
    pairs: [Split: [TextPair]], items: [TextPair], alignment: Alignment
  ) {
    let sourcePackages = sourcePackagesByDescription()
    var originals: [String: [Part]] = [:]
    forEachDescription(of: english, language: "en") { key, _, parts in
      if originals[key] == nil { originals[key] = parts }
    }
    var pairs: [Split: [TextPair]] = [:]
    var items: [TextPair] = []
    var alignment = Alignment()
    var seen: Set<String> = []
    forEachDescription(of: translated, language: language) { key, package, parts in
      guard let original = originals[key], seen.insert(key).inserted else { return }
      alignment.documents += 1
      guard original.count == parts.count else {
        alignment.unequalParagraphs += 1
        return
      }
      let split = Self.split(of: sourcePackages[key] ?? package)
      for (original, part) in zip(original, parts) {
        pairs[split, default: []].append(TextPair(source: original.text, target: part.text))
        guard split == .training, original.items.count == part.items.count else { continue }
        items += zip(original.items, part.items).map { TextPair(source: $0, target: $1) }
      }
    }
    return (pairs, items, alignment)
  }

  /// A function of the name alone: a later release of Debian keeps the split.
  static func split(of sourcePackage: String) -> Split {
    switch Digest(of: sourcePackage).low % 100 {
    case ..<heldOutPercent: .test
    case ..<(2 * heldOutPercent): .validation
    default: .training
    }
  }

  /// Of several source packages with one description, the first by name.
  private func sourcePackagesByDescription() -> [String: String] {
    var result: [String: String] = [:]
    for bytes in packages {
      let file = ControlFile(bytes: bytes)
      file.forEachStanza(["Package", "Source", "Description-md5"]) { stanza in
        guard let key = stanza["Description-md5"].flatMap({ file.text($0[0]) }),
          let field = stanza["Source"] ?? stanza["Package"], let text = file.text(field[0])
        else { return }
        // "name (version)"
        let name = String(text.prefix { $0 != " " })
        result[key] = result[key].map { min($0, name) } ?? name
      }
    }
    return result
  }

  private func forEachDescription(
    of files: [[UInt8]], language: String,
    _ body: (_ key: String, _ package: String, _ parts: [Part]) -> Void
  ) {
    let field = "Description-\(language)"
    for bytes in files {
      let file = ControlFile(bytes: bytes)
      file.forEachStanza(["Package", "Description-md5", field]) { stanza in
        guard let key = stanza["Description-md5"].flatMap({ file.text($0[0]) }),
          let package = stanza["Package"].flatMap({ file.text($0[0]) }),
          let parts = stanza[field].flatMap({ Self.parts(of: $0, in: file) })
        else { return }
        body(key, package, parts)
      }
    }
  }

  /// The synopsis and the paragraphs, each on one line; nil when the text is not UTF-8. A paragraph
  /// of verbatim lines only is empty, and keeps its place so that the others find their
  /// translation.
  private static func parts(of lines: ControlFile.Lines, in file: ControlFile) -> [Part]? {
    guard let synopsis = file.text(lines[0]) else { return nil }
    var result = [Part(text: synopsis), Part()]
    for range in lines.dropFirst() {
      guard let line = file.text(range) else { return nil }
      let last = result.count - 1
      if line == "." {
        result.append(Part())
      } else if line.hasPrefix(" ") {
        addVerbatim(line.drop { $0 == " " }, to: &result[last].items)
      } else {
        result[last].text += result[last].text.isEmpty ? line : " " + line
      }
    }
    return result
  }

  /// An item begins with its mark and may go on in further lines; what is verbatim before the first
  /// is none.
  private static func addVerbatim(_ line: Substring, to items: inout [String]) {
    if let mark = line.first, "*-+o•·–".contains(mark), line.dropFirst().first == " " {
      items.append(String(line.dropFirst().drop { $0 == " " }))
    } else if !items.isEmpty {
      items[items.count - 1] += " " + line
    }
  }
}
