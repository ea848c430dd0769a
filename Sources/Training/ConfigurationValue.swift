import Checkpoints

/// The text of one value, from a file or an argument, before it has a type.
struct ScalarText: Equatable, Sendable {
  var text: String
  /// A quoted value is text and nothing else: `"12"` is not a number.
  var isQuoted = false

  var isNull: Bool { !isQuoted && ["null", "~", "Null", "NULL", ""].contains(text) }
}

/// How a value of type `Value` is read from and written as YAML, and what a reader is told to
/// write.
struct ConfigurationValue<Value: Sendable>: Sendable {
  /// Completes the sentence "expected …".
  let expectation: String
  let parse: @Sendable (ScalarText) -> Value?
  let format: @Sendable (Value) -> String
}

extension ConfigurationValue where Value: FixedWidthInteger {
  static func integer(_ range: ClosedRange<Value>) -> Self {
    let bounds =
      range.upperBound == .max
      ? "of at least \(range.lowerBound)" : "from \(range.lowerBound) to \(range.upperBound)"
    return Self(
      expectation: "a whole number \(bounds)",
      parse: { scalar in
        guard !scalar.isQuoted, let value = Value(scalar.text), range.contains(value) else {
          return nil
        }
        return value
      },
      format: { String($0) })
  }
}

extension ConfigurationValue where Value == Double {
  /// From 0 up to, but not, 1: a probability that leaves something.
  static let fraction = Self.number("from 0 to 0.999999") { 0...0.999999 ~= $0 }

  static let positive = Self.number("from 1e-37 to 1e37") { 1e-37...1e37 ~= $0 }

  static let notNegative = Self.number("from 0 to 1e37") { 0...1e37 ~= $0 }

  /// Steps compute in single precision: bounds are such that it knows every value.
  private static func number(
    _ bounds: String, _ isAllowed: @escaping @Sendable (Double) -> Bool
  ) -> Self {
    Self(
      expectation: "a number \(bounds)",
      parse: { scalar in
        // Hexadecimal floats, nan and inf are numbers to Swift, but slips in a configuration.
        let isDecimal = scalar.text.utf8.allSatisfy { "+-.0123456789eE".utf8.contains($0) }
        guard !scalar.isQuoted, isDecimal, let value = Double(scalar.text), value.isFinite,
          isAllowed(value)
        else { return nil }
        return value
      },
      format: { "\($0)" })
  }
}

/// A file is refused for longer lines: what was taken from one must fit into the next.
private let longestValue = 800

extension ConfigurationValue where Value == [Int] {
  /// Numbers of at least 1 with commas between them.
  static let counts = Self(
    expectation: "numbers of at least 1 with commas between them",
    parse: { scalar in
      let parts = scalar.text.split(separator: ",", omittingEmptySubsequences: false)
      let counts = parts.compactMap { part in
        Int(part.filter { $0 != " " }).flatMap { 1...1_000_000 ~= $0 ? $0 : nil }
      }
      return counts.count == parts.count && scalar.text.utf8.count <= longestValue ? counts : nil
    },
    format: { counts in "\"\(counts.map(String.init).joined(separator: ","))\"" })
}

extension ConfigurationValue where Value == SaveInterval {
  /// A number of steps, a number of seconds with an s behind it, or auto.
  static let interval = Self(
    expectation: "a number of steps, seconds as in 600s, or auto",
    parse: { scalar in
      guard !scalar.isQuoted else { return nil }
      if scalar.text == "auto" { return .automatic }
      let isSeconds = scalar.text.hasSuffix("s")
      guard let count = Int(isSeconds ? String(scalar.text.dropLast()) : scalar.text),
        1...1_000_000_000 ~= count
      else { return nil }
      return isSeconds ? .seconds(Double(count)) : .steps(count)
    },
    format: { interval in
      switch interval {
      case .steps(let count): "\(count)"
      case .seconds(let seconds): "\(Int(seconds))s"
      case .automatic: "auto"
      }
    })
}

extension ConfigurationValue where Value == Bool {
  static let flag = Self(
    expectation: "true or false",
    parse: { scalar in scalar.isQuoted ? nil : Bool(scalar.text) },
    format: { $0 ? "true" : "false" })
}

extension ConfigurationValue where Value == String {
  /// Any text that is not empty and that YAML can say on one line.
  static let text = Self(
    expectation: "some text of one line",
    parse: { scalar in
      let isPlain =
        scalar.text.unicodeScalars.allSatisfy(isOfOneLine)
        && quoted(scalar.text).utf8.count <= longestValue
      return scalar.isNull || scalar.text.isEmpty || !isPlain ? nil : scalar.text
    },
    format: quoted)

  private static func isOfOneLine(_ scalar: Unicode.Scalar) -> Bool {
    // The last are marks of byte order.
    switch scalar.properties.generalCategory {
    case .control, .lineSeparator, .paragraphSeparator: false
    default: scalar.value != 0xfeff && scalar.value != 0xfffe && scalar.value != 0xffff
    }
  }

  /// One word of letters, digits and underscores.
  static let word = Self(
    expectation: "a name",
    parse: { scalar in
      let isWord = scalar.text.utf8.allSatisfy { byte in
        (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte)
          || (0x61...0x7a).contains(byte) || byte == 0x5f
      }
      return isWord && !scalar.isNull ? scalar.text : nil
    },
    format: { $0 })

  /// Bare where YAML reads it back as the same text, else in double quotes.
  private static func quoted(_ text: String) -> String {
    let isBare =
      text.first.map { $0.isASCII && ($0.isLetter || $0 == "/" || $0 == ".") } ?? false
      && text.utf8.allSatisfy { "/._-+@".utf8.contains($0) || isLetterOrDigit($0) }
      && !ScalarText(text: text).isNull
    if isBare { return text }
    let escaped = text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    return "\"\(escaped)\""
  }

  private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
    (0x30...0x39).contains(byte) || (0x41...0x5a).contains(byte) || (0x61...0x7a).contains(byte)
  }
}

extension ConfigurationValue
where Value: RawRepresentable & CaseIterable, Value.RawValue == String {
  /// One of the cases of an enumeration, by their raw values.
  static var choice: Self {
    Self(
      expectation: Value.allCases.map(\.rawValue).joined(separator: " or "),
      parse: { Value(rawValue: $0.text) },
      format: { $0.rawValue })
  }
}

extension ConfigurationValue {
  /// The values of another kind, and `null`, which is nil.
  static func orNull<Wrapped>(_ value: ConfigurationValue<Wrapped>) -> Self
  where Value == Wrapped? {
    or("null", value) { $0.isNull }
  }

  /// The values of another kind, and `auto`, which is nil.
  static func orAutomatic<Wrapped>(_ value: ConfigurationValue<Wrapped>) -> Self
  where Value == Wrapped? {
    or("auto", value) { $0.text == "auto" }
  }

  private static func or<Wrapped>(
    _ word: String, _ wrapped: ConfigurationValue<Wrapped>,
    _ isAbsent: @escaping @Sendable (ScalarText) -> Bool
  ) -> Self where Value == Wrapped? {
    Self(
      expectation: "\(wrapped.expectation), or \(word)",
      parse: { scalar in
        if isAbsent(scalar) { return .some(nil) }
        return wrapped.parse(scalar).map { .some($0) }
      },
      format: { value in value.map(wrapped.format) ?? word })
  }
}
