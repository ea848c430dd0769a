import Core
import Datasets
import Foundation
import Reporting

/// The text form of what is in a dataset, at most 100 columns wide where names allow it; nothing in
/// it can drive a terminal.
struct DatasetText {
  private static let barWidth = 60
  /// Of one sample and stream.
  private static let mostCharacters = 200

  private let inspection: DatasetInspection
  private(set) var lines: [String] = []

  init(_ inspection: DatasetInspection) {
    self.inspection = inspection
    lines.append(escaped(inspection.path))
    addFacts()
    addParts()
    addLengths()
    addSamples()
  }

  private mutating func addFacts() {
    let streams = inspection.streams.joined(separator: ", ")
    let languages = inspection.languages
    var facts = [
      ("format", "lockstep-dataset version \(inspection.formatVersion)"),
      ("items", "\(inspection.kind) of \(streams): \(languages.source) to \(languages.target)"),
      (
        "tokenizer",
        "\(ProgressLine.grouped(inspection.vocabularySize)) pieces, XXH3"
          + " \(inspection.tokenizerDigest)"
      ),
      ("digest", inspection.digest),
      ("content digest", inspection.contentDigest ?? "unknown before --verify: it has no index"),
      ("licence", inspection.licenceNote),
    ]
    for line in inspection.provenance { facts.append(("provenance", line)) }
    let counts = inspection.counts
    let leftOut = [
      (counts.empty, "empty"), (counts.duplicate, "repeated"),
      (counts.lopsided, "of very unequal length"), (counts.overlapping, "in two splits"),
      (counts.untranslated, "untranslated"),
      (counts.tooLong, "longer than \(inspection.maximumPieces) pieces"),
    ].filter { $0.0 > 0 }.map { "\(ProgressLine.grouped($0.0)) \($0.1)" }
    facts.append(
      (
        "made from",
        "\(ProgressLine.grouped(counts.read)) pairs, seed \(inspection.seed)"
          + (leftOut.isEmpty ? "" : "; left out: " + leftOut.joined(separator: ", "))
      ))
    let width = facts.map(\.0.count).max() ?? 0
    for (index, fact) in facts.enumerated() {
      let isSame = index > 0 && facts[index - 1].0 == fact.0
      let name = padded(isSame ? "" : fact.0, width, isLeft: true)
      lines.append("  \(name)  \(escaped(fact.1))")
    }
  }

  private mutating func addParts() {
    var rows = [["split", "shards", "items"]]
    rows[0] += inspection.streams.map { "\(escaped($0)) tokens" } + ["unknown"]
    for part in inspection.parts {
      var row = [part.name, ProgressLine.grouped(part.shards), ProgressLine.grouped(part.items)]
      row += part.tokens.map { ProgressLine.grouped($0) }
      let tokens = part.tokens.reduce(0, +)
      row.append(
        part.unknownTokens.map { unknown in
          let share = 100 * Double(unknown.reduce(0, +)) / Double(max(1, tokens))
          return String(format: "%.3f %%", share)
        } ?? "-")
      rows.append(row)
    }
    lines.append("")
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    for row in rows {
      let cells = row.indices.map { column in
        padded(row[column], widths[column], isLeft: column == 0)
      }
      lines.append(cells.joined(separator: "  "))
    }
  }

  private mutating func addLengths() {
    let bars = inspection.lengths
    guard let most = bars.map(\.items).max(), most > 0 else { return }
    lines.append("\npieces of the longest side, of \(escaped(inspection.lengthsOf))")
    let names = bars.map { $0.from == $0.to ? "\($0.from)" : "\($0.from)-\($0.to)" }
    let counts = bars.map { ProgressLine.grouped($0.items) }
    let widths = [names, counts].map { $0.map(\.count).max() ?? 0 }
    for (index, bar) in bars.enumerated() {
      // Of what is there something is seen.
      let length = max(bar.items > 0 ? 1 : 0, bar.items * Self.barWidth / most)
      let name = padded(names[index], widths[0])
      let count = padded(counts[index], widths[1])
      lines.append(
        "  \(name)  \(count)" + (length > 0 ? "  " : "") + String(repeating: "#", count: length))
    }
  }

  private mutating func addSamples() {
    guard !inspection.samples.isEmpty else { return }
    lines.append("\n\(inspection.samples.count) of \(escaped(inspection.samplesOf))")
    let width = inspection.streams.map(\.count).max() ?? 0
    for sample in inspection.samples {
      for (stream, text) in zip(inspection.streams, sample) {
        let cut =
          text.count > Self.mostCharacters ? text.prefix(Self.mostCharacters) + "…" : text[...]
        lines.append(
          "  \(padded(escaped(stream), width, isLeft: true))  \(escaped("\(cut)"))")
      }
    }
  }

  private func padded(_ text: String, _ width: Int, isLeft: Bool = false) -> String {
    let room = String(repeating: " ", count: max(0, width - text.count))
    return isLeft ? text + room : room + text
  }
}
