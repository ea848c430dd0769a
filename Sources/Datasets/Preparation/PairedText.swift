import Core

/// A file of text, a sentence a line, that can be read from any place.
struct TextFile: Codable, Sendable {
  /// Where it can be read: as it was given, or a copy in the staging folder.
  var path: String
  /// As a person knows it.
  var name: String
  /// Where what was given has other parts than lines.
  var unit = "line"

  /// For messages; lines count from 0 here, and from 1 there.
  func place(_ line: Int) -> String { "\(name): \(unit) \(line + 1)" }
}

/// Two files side by side, line i of one the translation of line i of the other.
struct PairedText: Codable, Sendable {
  var source: TextFile
  var target: TextFile
  /// nil for what is no text of its own, but for training only: items of lists, and what is made
  /// from training text.
  var split: Split?
  /// Both sides came in one file, so the place of one is that of both.
  var isOneFile = false

  func place(_ line: Int) -> String {
    isOneFile
      ? source.place(line)
      : "\(source.place(line)), \(target.name)"
  }
}
