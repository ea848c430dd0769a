import Core

/// Two files of text, line i of one the translation of line i of the other.
package struct ParallelText: Sendable, Equatable {
  package var sourcePath: String
  package var targetPath: String

  package init(sourcePath: String, targetPath: String) {
    self.sourcePath = sourcePath
    self.targetPath = targetPath
  }

  /// Reads all pairs; lines end with LF or CR LF, a last line without one counts.
  ///
  /// Throws: `Failure`: .missingInput for a missing file, .badData for text that is not UTF-8, for
  /// lines that end with CR alone and for files of unequal line counts.
  package func pairs() throws(Failure) -> [TextPair] {
    try pairs { (path: String) throws(Failure) in try InputFile.bytes(of: path) }
  }

  /// - Parameter bytes: of a file; asked once for each, as a pipe can be read but once.
  func pairs(bytes: (String) throws(Failure) -> [UInt8]) throws(Failure) -> [TextPair] {
    let sources = try Self.lines(in: try bytes(sourcePath), of: sourcePath)
    let targets = try Self.lines(in: try bytes(targetPath), of: targetPath)
    guard sources.count == targets.count else {
      throw Failure(
        .badData,
        "\(sourcePath) and \(targetPath): expected as many lines in both, found \(sources.count)"
          + " and \(targets.count)")
    }
    return zip(sources, targets).map { TextPair(source: $0, target: $1) }
  }

  private static func lines(in bytes: [UInt8], of path: String) throws(Failure) -> [String] {
    let (newline, carriageReturn) = (UInt8(ascii: "\n"), UInt8(ascii: "\r"))
    var bytes = bytes[...]
    if bytes.last == newline { bytes.removeLast() } else if bytes.isEmpty { return [] }
    // One line with others in it would be left out for its length, or learned from.
    guard bytes.contains(newline) || !bytes.dropLast().contains(carriageReturn) else {
      throw Failure(
        .badData,
        "\(path): expected lines that end with LF or CR LF, found CR alone; convert it, for example"
          + " with tr '\\r' '\\n'")
    }
    var lines: [String] = []
    for line in bytes.split(separator: newline, omittingEmptySubsequences: false) {
      let line = line.last == carriageReturn ? line.dropLast() : line
      guard let text = String(validating: line, as: UTF8.self) else {
        throw Failure(
          .badData, "\(path): line \(lines.count + 1): expected UTF-8 text, found other bytes")
      }
      lines.append(text)
    }
    return lines
  }
}
