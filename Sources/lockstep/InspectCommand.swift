import ArgumentParser
import Checkpoints
import Core
import Foundation
import HDF5

/// `lockstep inspect`: what is in a checkpoint or any other HDF5 file.
struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract:
      "Shows the tensors, state, configuration and provenance of a checkpoint or HDF5 file.",
    discussion: """
      PATH is a run directory (its newest checkpoint is shown), a checkpoint folder, or any HDF5 \
      file, such as a dataset shard. A damaged checkpoint is shown as far as it can be read, and \
      the exit code is 65.
      """)

  @Argument(help: "A run directory, a checkpoint folder or an HDF5 file.")
  var path: String

  @Flag(help: "Print JSON instead of text.")
  var json = false

  func run() throws {
    let inspection = try Inspection(of: path)
    if json {
      FileHandle.standardOutput.write(Data(try inspection.encoded()))
    } else {
      print(InspectionText(inspection).lines.joined(separator: "\n"))
    }
    if inspection.verification == .damaged {
      throw Failure(.badData, inspection.remark ?? "\(inspection.path): is damaged")
    }
  }
}

/// The text form of an inspection; nothing in it can drive a terminal.
private struct InspectionText {
  private let inspection: Inspection
  private(set) var lines: [String] = []

  init(_ inspection: Inspection) {
    self.inspection = inspection
    addHeading()
    add("state", inspection.state)
    add("provenance", inspection.provenance?.mapValues { .text($0) })
    if let configuration = inspection.configuration {
      lines.append("\nconfiguration")
      for line in configuration.split(separator: "\n") { lines.append("  " + escaped("\(line)")) }
    }
    addTree()
    addVerdict()
  }

  private mutating func addHeading() {
    let remark = inspection.remark.map { ": " + escaped($0) } ?? ""
    let verdict =
      switch inspection.verification {
      case .verified: "every byte verified"
      case .damaged: "DAMAGED" + remark
      case .none: "not verified" + remark
      }
    lines.append(escaped(inspection.path))
    lines.append("  \(inspection.byteCount) bytes, \(verdict)")
    add("file", inspection.attributes)
  }

  private mutating func add(_ title: String, _ values: [String: Inspection.Value]?) {
    guard let values, !values.isEmpty else { return }
    lines.append("\n\(title)")
    let width = values.keys.map { escaped($0).count }.max() ?? 0
    for (name, value) in values.sorted(by: { $0.key < $1.key }) {
      let texts = "\(value)".split(separator: "\n", omittingEmptySubsequences: false)
      for (index, text) in texts.enumerated() {
        lines.append(
          "  " + padded(index == 0 ? escaped(name) : "", width) + "  " + escaped("\(text)"))
      }
    }
  }

  private mutating func addTree() {
    let datasets = inspection.objects.filter { $0.kind != "group" }
    guard !datasets.isEmpty else { return }
    let names = datasets.map { escaped($0.path) }
    let forms = datasets.map(form)
    let nameWidth = max(4, names.map(\.count).max() ?? 0)
    let formWidth = max(5, forms.map(\.count).max() ?? 0)
    lines.append("")
    lines.append(
      padded("name", nameWidth) + "  " + padded("shape", formWidth) + "        mean   deviation"
        + "     largest    NaN    Inf")
    for (index, object) in datasets.enumerated() {
      var line = padded(names[index], nameWidth) + "  " + padded(forms[index], formWidth)
      if let statistics = object.statistics {
        let numbers = [
          statistics.mean, statistics.standardDeviation, statistics.absoluteMaximum,
        ]
        line += numbers.map { number($0) }.joined()
        line += aligned("\(statistics.nanCount)", 7) + aligned("\(statistics.infinityCount)", 7)
      }
      if let defect = object.defect { line += "  cannot be read: " + escaped(defect) }
      lines.append(line)
    }
    addAttributes()
  }

  /// Attributes of groups and datasets other than those shown above.
  private mutating func addAttributes() {
    for object in inspection.objects where object.path != "/state" {
      add(escaped(object.path), object.attributes)
    }
  }

  private mutating func addVerdict() {
    let tensors = inspection.objects.filter { $0.statistics != nil }
    guard !tensors.isEmpty else { return }
    let bad = tensors.filter {
      ($0.statistics?.nanCount ?? 0) + ($0.statistics?.infinityCount ?? 0) > 0
    }
    lines.append("")
    lines.append(
      bad.isEmpty
        ? "\(tensors.count) float tensors, all values finite"
        : "\(bad.count) of \(tensors.count) float tensors hold values that are not finite: "
          + bad.prefix(5).map { escaped($0.path) }.joined(separator: ", "))
  }

  private func form(_ object: Inspection.Object) -> String {
    guard let shape = object.shape else { return object.kind }
    let type = escaped(object.type ?? "?")
    return shape.isEmpty ? type : "\(type) \(shape.map(String.init).joined(separator: "x"))"
  }

  private func number(_ value: Double?) -> String {
    guard let value else { return aligned("-", 12) }
    return aligned(String(format: "%.4g", value), 12)
  }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private func aligned(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
