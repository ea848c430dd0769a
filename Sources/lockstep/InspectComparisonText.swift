import Checkpoints
import Core
import Foundation

/// The text form of a comparison; nothing in it can drive a terminal.
struct ComparisonText {
  private let comparison: Comparison
  private(set) var lines: [String] = []

  init(_ comparison: Comparison) {
    self.comparison = comparison
    lines.append("first   " + escaped(comparison.first))
    lines.append("second  " + escaped(comparison.second))
    addMismatches("state", comparison.state)
    addMismatches("configuration", comparison.configuration)
    addMismatches("only in one, or of another shape", comparison.unmatched)
    addMismatches("texts and attributes", comparison.texts)
    addTensors()
    addMismatches("made otherwise, which is no difference", comparison.provenance)
    addVerdict()
  }

  private mutating func addMismatches(_ title: String, _ mismatches: [Comparison.Mismatch]) {
    guard !mismatches.isEmpty else { return }
    lines.append("\n" + title)
    for mismatch in mismatches {
      let values = [mismatch.first, mismatch.second].map { escaped($0 ?? "(absent)") }
      lines.append("  \(escaped(mismatch.name)): \(values[0]) | \(values[1])")
    }
  }

  private mutating func addTensors() {
    let different = comparison.tensors.filter { $0.difference.differingCount > 0 }
    guard !different.isEmpty else { return }
    let names = different.map { escaped($0.path) }
    // Beyond, a name takes its own line out of line: one would widen all others.
    let width = min(max(4, names.map(\.count).max() ?? 0), 60)
    lines.append("")
    lines.append(
      padded("name", width) + "   differing    absolute    relative  1 - cosine"
        + "  first norm second norm")
    for (name, tensor) in zip(names, different) {
      let difference = tensor.difference
      let numbers: [Double?] = [
        difference.largestAbsolute, difference.largestRelative, tensor.cosine.map { 1 - $0 },
        tensor.norms.first, tensor.norms.last,
      ]
      lines.append(
        padded(name, width) + aligned("\(difference.differingCount)", 12)
          + numbers.map { aligned($0.map { String(format: "%.4g", $0) } ?? "-", 12) }.joined())
    }
  }

  private mutating func addVerdict() {
    let different = comparison.tensors.filter { $0.difference.differingCount > 0 }.count
    lines.append("")
    lines.append(
      comparison.isIdentical
        ? "identical: \(comparison.tensors.count) datasets, every bit; state, configuration, texts"
          + " and attributes"
        : "different: \(different) of \(comparison.tensors.count) datasets that both have, "
          + "\(comparison.unmatched.count) that have no counterpart, "
          + "\(comparison.state.count) values of the state, \(comparison.configuration.count) of"
          + " the configuration, \(comparison.texts.count) texts and attributes")
  }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private func aligned(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
