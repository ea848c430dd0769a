/// Text in Debian's control format: stanzas of `Field: value` lines, continued by indented lines,
/// with an empty line between stanzas.
struct ControlFile {
  let bytes: [UInt8]

  /// The lines of a field's value; continuation lines are without their first space.
  typealias Lines = [Range<Int>]

  /// Calls `body` with the wanted fields of every stanza in turn.
  func forEachStanza(_ fields: Set<String>, _ body: ([String: Lines]) -> Void) {
    let newline = UInt8(ascii: "\n")
    let initials = Set(fields.compactMap(\.utf8.first))
    var stanza: [String: Lines] = [:]
    var current: String?
    var start = 0
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: newline) ?? bytes.count
      if start == end {
        if !stanza.isEmpty { body(stanza) }
        stanza.removeAll(keepingCapacity: true)
        current = nil
      } else if bytes[start] == UInt8(ascii: " ") {
        if let current { stanza[current]?.append(start + 1..<end) }
      } else {
        current = nil
        if initials.contains(bytes[start]),
          let colon = bytes[start..<end].firstIndex(of: UInt8(ascii: ":"))
        {
          let name = text(start..<colon)
          if let name, fields.contains(name) {
            current = name
            let hasSpace = colon + 1 < end && bytes[colon + 1] == UInt8(ascii: " ")
            stanza[name] = [colon + (hasSpace ? 2 : 1)..<end]
          }
        }
      }
      start = end + 1
    }
    if !stanza.isEmpty { body(stanza) }
  }

  /// Nil when the bytes are not UTF-8.
  func text(_ range: Range<Int>) -> String? {
    String(validating: bytes[range], as: UTF8.self)
  }
}
