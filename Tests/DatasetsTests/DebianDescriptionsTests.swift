import Core
import Datasets
import Testing

@Suite struct DebianDescriptionsTests {
  // Invented packages in the format of Debian's lists.
  static let english = """
    Package: quillfish
    Description-md5: 00000000000000000000000000000001
    Description-en: editor for underwater notes
     Quillfish writes notes
     below the surface.
     .
     It understands:
       * ink
       * kelp
     and little else.
     .
     A table before it is no item:
       fish  water
      - what swims
        in schools
      - o with a mark

    Package: quillfish-data
    Description-md5: 00000000000000000000000000000002
    Description-en: editor for underwater notes (data)
     Pictures of fish.

    Package: tablewhale
    Description-md5: 00000000000000000000000000000003
    Description-en: lists of whales
      big     blue
      small   grey
     .
     Sorted by size.

    Package: untranslated
    Description-md5: 00000000000000000000000000000004
    Description-en: nobody translated this

    Package: synopsis-only
    Description-md5: 00000000000000000000000000000005
    Description-en: short
    """

  static let german = """
    Package: quillfish
    Description-md5: 00000000000000000000000000000001
    Description-de: Editor für Notizen unter Wasser
     Quillfish schreibt Notizen
     unter der Oberfläche.
     .
     Es versteht:
       * Tinte
     und wenig sonst.
     .
     Eine Tabelle davor ist kein Eintrag:
      + was in Schwärmen
        schwimmt
      + o mit Zeichen

    Package: quillfish-copy
    Description-md5: 00000000000000000000000000000001
    Description-de: noch einmal
     Nichts.

    Package: quillfish-data
    Description-md5: 00000000000000000000000000000002
    Description-de: Editor für Notizen unter Wasser (Daten)
     Bilder von Fischen.
     .
     Ein Absatz zu viel.

    Package: tablewhale
    Description-md5: 00000000000000000000000000000003
    Description-de: Listen von Walen
      groß    blau
     .
     Nach Größe sortiert.

    Package: without-original
    Description-md5: 00000000000000000000000000000009
    Description-de: verwaist

    Package: synopsis-only
    Description-md5: 00000000000000000000000000000005
    Description-de: kurz

    """

  static func packages(source: String) -> String {
    """
    Package: quillfish
    Version: 1
    Description: editor for underwater notes
    Description-md5: 00000000000000000000000000000001

    Package: tablewhale
    Source: \(source) (2:1.0-1)
    Tag: one,
     two
    Description-md5: 00000000000000000000000000000003

    """
  }

  private func aligned(source: String = "whales") -> (
    pairs: [Split: [TextPair]], items: [TextPair], alignment: DebianDescriptions.Alignment
  ) {
    DebianDescriptions(
      english: [Array(Self.english.utf8)], translated: [Array(Self.german.utf8)],
      packages: [Array(Self.packages(source: source).utf8)], language: "de"
    ).aligned()
  }

  @Test func paragraphsFindTheirTranslations() {
    let (pairs, items, alignment) = aligned()
    #expect(alignment.documents == 4)
    #expect(alignment.unequalParagraphs == 1)
    let found = Split.allCases.flatMap { pairs[$0, default: []] }.filter { !$0.source.isEmpty }
    let expected = [
      TextPair(source: "editor for underwater notes", target: "Editor für Notizen unter Wasser"),
      TextPair(
        source: "Quillfish writes notes below the surface.",
        target: "Quillfish schreibt Notizen unter der Oberfläche."),
      TextPair(
        source: "It understands: and little else.", target: "Es versteht: und wenig sonst."),
      TextPair(
        source: "A table before it is no item:", target: "Eine Tabelle davor ist kein Eintrag:"),
      TextPair(source: "lists of whales", target: "Listen von Walen"),
      TextPair(source: "Sorted by size.", target: "Nach Größe sortiert."),
      TextPair(source: "short", target: "kurz"),
    ]
    #expect(found.count == expected.count)
    for pair in expected { #expect(found.contains(pair)) }
    // A list that is shorter in translation gives no items.
    #expect(
      items == [
        TextPair(source: "what swims in schools", target: "was in Schwärmen schwimmt"),
        TextPair(source: "o with a mark", target: "o mit Zeichen"),
      ])
  }

  @Test func theSourcePackageDecidesTheSplit() {
    // Try names until each split was hit: the pairs of a package always move together.
    var hit: Set<Split> = []
    for number in 0..<200 {
      let (pairs, _, _) = aligned(source: "whales\(number)")
      let homes = Split.allCases.filter { split in
        pairs[split, default: []].contains { $0.source == "lists of whales" }
      }
      #expect(homes.count == 1)
      for home in homes {
        hit.insert(home)
        #expect(pairs[home, default: []].contains { $0.source == "Sorted by size." })
      }
    }
    #expect(hit == Set(Split.allCases))
  }

  @Test func damagedListsAreReadAsFarAsTheyGo() {
    for cut in 0..<Self.german.utf8.count {
      let (_, _, alignment) = DebianDescriptions(
        english: [Array(Self.english.utf8)], translated: [Array(Self.german.utf8.prefix(cut))],
        packages: [], language: "de"
      ).aligned()
      #expect(alignment.documents <= 4)
    }
  }
}
