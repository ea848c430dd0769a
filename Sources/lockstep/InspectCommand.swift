import ArgumentParser
import Checkpoints
import Core
import Datasets
import Foundation
import HDF5

/// `lockstep inspect`: what is in a checkpoint, a dataset or any other HDF5 file, whether it is
/// sound, and how it differs from another.
struct InspectCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "inspect",
    abstract:
      "Shows, verifies or compares checkpoints, datasets and HDF5 files.",
    usage: """
      lockstep inspect [--json] PATH
      lockstep inspect --verify [--json] PATH
      lockstep inspect --diff [--json] PATH OTHER
      """,
    discussion: """
      PATH is a run directory (its newest checkpoint is taken), a checkpoint folder, a prepared \
      dataset or a shard of one, or any other HDF5 file. A damaged checkpoint is shown as far as \
      it can be read, and the exit code is 65.

      --verify compares every byte of a checkpoint with its manifest: exit code 0, or 65 with the \
      first damaged block and its tensor; and every byte of a dataset with its description and \
      index, whose digests are computed anew.

      --diff compares all numbers of two files, and the state of two checkpoints: exit code 0 if \
      they are identical bit by bit, 1 if not.
      """)

  @Argument(help: "A run directory, a checkpoint, a dataset or an HDF5 file; with --diff two.")
  var paths: [String]

  @Flag(help: "Verify every byte against the manifest, or a dataset's description.")
  var verify = false

  @Flag(help: "Compare two files tensor by tensor.")
  var diff = false

  @Flag(help: "Print JSON instead of text.")
  var json = false

  func validate() throws {
    guard !(verify && diff) else { throw ValidationError("Either --verify or --diff, not both.") }
    guard paths.count == (diff ? 2 : 1) else {
      throw ValidationError(diff ? "--diff needs two paths." : "One path is expected.")
    }
  }

  func run() throws {
    if diff { return try compare(paths[0], paths[1]) }
    if let target = DatasetTarget(paths[0]) { return try inspect(target) }
    if verify { return try verify(paths[0]) }
    let inspection = try Inspection(of: paths[0])
    if json {
      try StandardOutput.write(try inspection.encoded())
    } else {
      try StandardOutput.say(InspectionText(inspection).lines.joined(separator: "\n"))
    }
    if inspection.verification == .damaged {
      throw Failure(.badData, inspection.remark ?? "\(inspection.path): is damaged")
    }
  }

  private func inspect(_ target: DatasetTarget) throws {
    if verify { return try verify(target) }
    let inspection = try DatasetInspection(of: target)
    if json {
      try StandardOutput.write(try inspection.encoded())
    } else {
      try StandardOutput.say(DatasetText(inspection).lines.joined(separator: "\n"))
    }
  }

  private func verify(_ target: DatasetTarget) throws {
    var progress = ReadingProgress("\(paths[0]): verifying", say: StandardError.say)
    let report = try DatasetVerification(of: target) { progress.reached($0, of: $1) }
    if json {
      try StandardOutput.write(try report.encoded())
    } else if report.isSound {
      try StandardOutput.say(
        "\(escaped(report.path)): every byte is what its description says (\(report.shards) shards,"
          + " \(report.byteCount) bytes; digest \(report.digest ?? ""), content digest"
          + " \(report.contentDigest ?? ""))")
    }
    guard report.isSound else {
      throw Failure(.badData, report.problem ?? "\(report.path): is damaged")
    }
  }

  private func verify(_ path: String) throws {
    let report = try VerificationReport(of: path)
    if json {
      try StandardOutput.write(try report.encoded())
    } else if report.isSound {
      try StandardOutput.say(
        "\(escaped(report.path)): every byte is what its manifest says (step \(report.step ?? 0), "
          + "\(report.byteCount ?? 0) bytes in \(report.blockCount ?? 0) blocks)")
    }
    guard report.isSound else {
      throw Failure(.badData, report.problem ?? "\(report.path): is damaged")
    }
  }

  private func compare(_ first: String, _ second: String) throws {
    let comparison = try Comparison(of: first, and: second)
    if json {
      try StandardOutput.write(try comparison.encoded())
    } else {
      try StandardOutput.say(ComparisonText(comparison).lines.joined(separator: "\n"))
    }
    if !comparison.isIdentical {
      throw ArgumentParser.ExitCode(Core.ExitCode.different.rawValue)
    }
  }
}

/// The text form of an inspection; nothing in it can drive a terminal.
private struct InspectionText {
  /// Characters that a column is made wide for; what is longer takes its own line out of line.
  private static let widestColumn = 60
  /// Of one value; more are counted.
  private static let mostLines = 100

  private let inspection: Inspection
  private(set) var lines: [String] = []

  init(_ inspection: Inspection) {
    self.inspection = inspection
    addHeading()
    add("state", inspection.state)
    add("provenance", inspection.provenance?.mapValues { .text($0) })
    if let configuration = inspection.configuration {
      lines.append("\nconfiguration")
      for line in configuration.filledLines { lines.append("  " + escaped("\(line)")) }
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
    let width = Self.width(values.keys.map { escaped($0) }, atLeast: 0)
    for (name, value) in values.sorted(by: { $0.key < $1.key }) {
      let texts = "\(value)".allLines
      for (index, text) in texts.prefix(Self.mostLines).enumerated() {
        lines.append(
          "  " + padded(index == 0 ? escaped(name) : "", width) + "  " + escaped("\(text)"))
      }
      if texts.count > Self.mostLines {
        lines.append("  (\(texts.count - Self.mostLines) more lines; --json has them all)")
      }
    }
  }

  private static func width(_ texts: [String], atLeast least: Int) -> Int {
    min(max(least, texts.map(\.count).max() ?? 0), widestColumn)
  }

  private mutating func addTree() {
    let datasets = inspection.objects.filter { $0.kind != "group" }
    guard !datasets.isEmpty else { return }
    let names = datasets.map { escaped($0.path) }
    let forms = datasets.map(form)
    let (nameWidth, formWidth) = (Self.width(names, atLeast: 4), Self.width(forms, atLeast: 5))
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
    let unread = inspection.objects.filter { $0.defect != nil }
    defer {
      if !unread.isEmpty {
        lines.append(
          "\(unread.count) datasets could not be read, and nothing is said of them: "
            + unread.prefix(5).map { escaped($0.path) }.joined(separator: ", "))
      }
    }
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
