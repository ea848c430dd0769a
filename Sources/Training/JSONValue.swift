import Core

/// A value of an event: what a line of `events.jsonl` is made of.
package enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object([Field])

  /// A member of an object; members keep their order.
  package struct Field: Equatable, Sendable {
    package let name: String
    package let value: JSONValue

    package init(_ name: String, _ value: JSONValue) {
      self.name = name
      self.value = value
    }
  }

  /// One line of JSON.
  ///
  /// Numbers have the fewest digits that read back to the same bits, so equal values are equal
  /// bytes. JSON knows no nan and inf: they become the strings "nan", "inf" and "-inf".
  package var text: String {
    switch self {
    case .null: "null"
    case .bool(let value): value ? "true" : "false"
    case .integer(let value): String(value)
    case .number(let value):
      // A nan has a sign, which says nothing.
      value.isFinite ? "\(value)" : value.isNaN ? "\"nan\"" : "\"\(value)\""
    case .string(let value): JSONValue.quoted(value)
    case .array(let values): "[" + values.map(\.text).joined(separator: ",") + "]"
    case .object(let fields):
      "{"
        + fields.map { JSONValue.quoted($0.name) + ":" + $0.value.text }.joined(separator: ",")
        + "}"
    }
  }

  private static func quoted(_ text: String) -> String {
    var result = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\t": result += "\\t"
      case "\r": result += "\\r"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return escapedJSON(result) + "\""
  }
}
