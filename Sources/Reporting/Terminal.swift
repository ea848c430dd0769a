import Foundation

/// What lines may use where they are read: so many columns, and colour or not.
package struct Terminal: Equatable, Sendable {
  /// Nil where lines may be as long as they like.
  package var columns: Int?
  package var isColored: Bool

  /// A file, or anything that is read later.
  package static let plain = Terminal(columns: nil, isColored: false)

  package init(columns: Int?, isColored: Bool) {
    self.columns = columns
    self.isColored = isColored
  }

  /// Where standard output of this process goes.
  ///
  /// mpirun gives every rank a pseudo-terminal of no size, also when its own output is a file:
  /// there only what `lockstep launch` has said about its terminal counts (`variables`).
  package static func current(
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) -> Terminal {
    if let color = environment[Variable.color] {
      let columns = environment[Variable.columns].flatMap { Int($0) }
      return Terminal(columns: columns.flatMap { $0 > 0 ? $0 : nil }, isColored: color == "always")
    }
    var size = winsize()
    guard environment["OMPI_COMM_WORLD_RANK"] == nil, isatty(STDOUT_FILENO) == 1 else {
      return .plain
    }
    let isSized = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0
    return Terminal(
      columns: isSized ? Int(size.ws_col) : nil,
      isColored: (environment["NO_COLOR"] ?? "").isEmpty && environment["TERM"] != "dumb")
  }

  /// Tells the ranks of a job about this terminal.
  package var variables: [String: String] {
    var result = [Variable.color: isColored ? "always" : "never"]
    if let columns { result[Variable.columns] = String(columns) }
    return result
  }

  private enum Variable {
    static let color = "LOCKSTEP_COLOR"
    static let columns = "COLUMNS"
  }

  /// How a word stands out (ECMA-48, select graphic rendition).
  enum Style: Int {
    case bold = 1
    case dim = 2
    case red = 31
    case cyan = 36
  }

  func styled(_ text: String, _ style: Style) -> String {
    isColored ? "\u{1b}[\(style.rawValue)m\(text)\u{1b}[0m" : text
  }
}
