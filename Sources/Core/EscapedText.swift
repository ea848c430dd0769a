/// Text that cannot drive a terminal: control characters become `\u{..}`.
package func escaped(_ text: String) -> String {
  replacing(\.canDriveTerminals, in: text) { "\\u{\(String($0.value, radix: 16))}" }
}

/// JSON that cannot drive a terminal and means the same: control characters but line feeds, which
/// stand between its values, become `\u....`.
package func escapedJSON(_ text: String) -> String {
  replacing({ $0.canDriveTerminals && $0 != "\n" }, in: text) { scalar in
    String(scalar).utf16.map { unit in
      let digits = String(unit, radix: 16)
      return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }.joined()
  }
}

private func replacing(
  _ isReplaced: (Unicode.Scalar) -> Bool, in text: String, by name: (Unicode.Scalar) -> String
) -> String {
  guard text.unicodeScalars.contains(where: isReplaced) else { return text }
  var result = ""
  for scalar in text.unicodeScalars {
    if isReplaced(scalar) {
      result += name(scalar)
    } else {
      result.unicodeScalars.append(scalar)
    }
  }
  return result
}

extension Unicode.Scalar {
  /// Whether a terminal may take it for a command.
  package var canDriveTerminals: Bool {
    switch properties.generalCategory {
    // Format characters reorder what surrounds them on a terminal.
    case .control, .format, .lineSeparator, .paragraphSeparator: true
    default: false
    }
  }
}
