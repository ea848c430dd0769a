/// The fields of one message of a protocol buffer, in order.
///
/// Source: protobuf.dev, "Encoding". Departure: what two readers could take for different things is
/// refused (groups, numbers of more than 64 bits), so that what is checked is what is used.
struct ProtocolFields {
  enum Value {
    case number(UInt64)
    case fixed32(UInt32)
    case fixed64(UInt64)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>
  /// Whether what was left is no field.
  private(set) var isBroken = false

  init(_ message: ArraySlice<UInt8>) { rest = message }

  /// Bytes that are still to come.
  var restByteCount: Int { rest.count }

  /// nil at the end, and where the message is broken.
  mutating func next() -> (number: UInt64, value: Value)? {
    guard !rest.isEmpty else { return nil }
    guard let tag = varint(), tag >> 3 > 0, tag <= UInt32.max, let value = value(kind: tag & 7)
    else {
      isBroken = true
      rest = []
      return nil
    }
    return (tag >> 3, value)
  }

  private mutating func value(kind: UInt64) -> Value? {
    switch kind {
    case 0: varint().map(Value.number)
    case 1: fixed(byteCount: 8).map(Value.fixed64)
    case 2: varint().flatMap { Int(exactly: $0) }.flatMap { take($0) }.map(Value.bytes)
    case 5: fixed(byteCount: 4).map { Value.fixed32(UInt32(truncatingIfNeeded: $0)) }
    default: nil
    }
  }

  private mutating func varint() -> UInt64? {
    var result: UInt64 = 0
    for shift in stride(from: UInt64(0), through: 63, by: 7) {
      guard let byte = rest.popFirst() else { return nil }
      let bits = UInt64(byte & 0x7F)
      guard shift < 63 || bits <= 1 else { return nil }
      result |= bits << shift
      if byte < 0x80 { return result }
    }
    return nil
  }

  private mutating func fixed(byteCount: Int) -> UInt64? {
    take(byteCount).map { $0.reversed().reduce(0) { $0 << 8 | UInt64($1) } }
  }

  private mutating func take(_ count: Int) -> ArraySlice<UInt8>? {
    guard count <= rest.count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }
}
