extension StringProtocol {
  /// The lines of the text, which end with LF or CR LF; a last one need not end.
  ///
  /// To Swift CR LF is one `Character`, and not the one that is written "\n": a text that is split
  /// there stays whole where somebody's editor wrote both.
  package var allLines: [Substring] {
    Substring(self).utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
      .map { Substring($0.last == UInt8(ascii: "\r") ? $0.dropLast() : $0) }
  }

  /// Those that are not empty.
  package var filledLines: [Substring] { allLines.filter { !$0.isEmpty } }
}
