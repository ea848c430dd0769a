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
  /// Throws: `Failure`: .missingInput for a missing file, .badData for text that is not UTF-8 and
  /// for files of unequal line counts.
  package func pairs() throws(Failure) -> [TextPair] {
    let sources = try Self.lines(of: sourcePath)
    let targets = try Self.lines(of: targetPath)
    guard sources.count == targets.count else {
      throw Failure(
        .badData,
        "\(sourcePath) and \(targetPath): expected as many lines in both, found \(sources.count)"
          + " and \(targets.count)")
    }
    return zip(sources, targets).map { TextPair(source: $0, target: $1) }
  }

  static func lines(of path: String) throws(Failure) -> [String] {
    var bytes = try InputFile.bytes(of: path)
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() } else if bytes.isEmpty { return [] }
    var lines: [String] = []
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      guard let text = String(validating: line, as: UTF8.self) else {
        throw Failure(
          .badData, "\(path): line \(lines.count + 1): expected UTF-8 text, found other bytes")
      }
      lines.append(text)
    }
    return lines
  }
}
