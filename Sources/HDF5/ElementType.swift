import CHDF5
import Core

/// What the elements of a dataset are.
package enum ElementType: Hashable, Sendable, CustomStringConvertible {
  case int8, uint8, int16, uint16, int32, uint32, int64, uint64, float32, float64
  case string
  /// Something Lockstep does not read: compounds, enumerations, references, half floats, …
  case other(String)

  /// As h5py and NumPy call it.
  package var description: String {
    switch self {
    case .int8: "int8"
    case .uint8: "uint8"
    case .int16: "int16"
    case .uint16: "uint16"
    case .int32: "int32"
    case .uint32: "uint32"
    case .int64: "int64"
    case .uint64: "uint64"
    case .float32: "float32"
    case .float64: "float64"
    case .string: "string"
    case .other(let name): name
    }
  }

  package var isFloat: Bool { self == .float32 || self == .float64 }

  /// Bytes of one element; 0 for strings and foreign types, whose elements lie elsewhere.
  package var byteCount: Int {
    switch self {
    case .int8, .uint8: 1
    case .int16, .uint16: 2
    case .int32, .uint32, .float32: 4
    case .int64, .uint64, .float64: 8
    case .string, .other: 0
    }
  }

  /// The little-endian type on disk, which is also the memory type: this machine is little-endian.
  /// Call inside the lock.
  var identifier: hid_t {
    switch self {
    case .int8: lockstep_std_i8()
    case .uint8: lockstep_std_u8()
    case .int16: lockstep_std_i16()
    case .uint16: lockstep_std_u16()
    case .int32: lockstep_std_i32()
    case .uint32: lockstep_std_u32()
    case .int64: lockstep_std_i64()
    case .uint64: lockstep_std_u64()
    case .float32: lockstep_ieee_f32()
    case .float64: lockstep_ieee_f64()
    case .string, .other: preconditionFailure("\(self) has no numeric type")
    }
  }

  /// Whether every value of this type is a value of `other`: conversions beyond that clamp
  /// silently.
  func fits(in other: ElementType) -> Bool {
    if self == other { return byteCount > 0 }
    guard byteCount > 0, other.byteCount > 0 else { return false }
    switch (isFloat, other.isFloat) {
    case (true, false): return false
    case (true, true): return byteCount <= other.byteCount
    case (false, true): return byteCount * 2 <= other.byteCount
    case (false, false):
      if isSigned { return other.isSigned && byteCount <= other.byteCount }
      return other.isSigned ? byteCount < other.byteCount : byteCount <= other.byteCount
    }
  }

  private var isSigned: Bool {
    switch self {
    case .int8, .int16, .int32, .int64, .float32, .float64: true
    default: false
    }
  }

  /// Recognises a type read from a file.
  init(of type: borrowing Handle, _ place: Library.Place) throws(Failure) {
    let id = type.id
    let kind = Library.value(H5Tget_class(id))
    let size = Library.value(H5Tget_size(id))
    self = try ElementType(kind, size, id, place)
    // Numbers are read as they lie in the file: other byte orders, gaps or layouts of bits would
    // be other numbers.
    if byteCount > 0, Library.value(H5Tequal(id, identifier)) <= 0 {
      self = .other("\(self) of another byte order or layout")
    }
  }

  private init(
    _ kind: H5T_class_t, _ size: Int, _ id: hid_t, _ place: Library.Place
  ) throws(Failure) {
    switch kind {
    case H5T_INTEGER:
      let isSigned = Library.value(H5Tget_sign(id)) == H5T_SGN_2
      switch (size, isSigned) {
      case (1, true): self = .int8
      case (1, false): self = .uint8
      case (2, true): self = .int16
      case (2, false): self = .uint16
      case (4, true): self = .int32
      case (4, false): self = .uint32
      case (8, true): self = .int64
      case (8, false): self = .uint64
      default: self = .other("integer of \(size) bytes")
      }
    case H5T_FLOAT:
      let isHalf = size == 2
      self =
        size == 4 ? .float32 : size == 8 ? .float64 : .other(isHalf ? "16-bit float" : "float")
    case H5T_STRING: self = .string
    case H5T_COMPOUND: self = .other("compound")
    case H5T_ENUM: self = .other("enumeration")
    case H5T_REFERENCE: self = .other("reference")
    case H5T_ARRAY: self = .other("array")
    case H5T_VLEN: self = .other("variable-length sequence")
    case H5T_OPAQUE: self = .other("opaque")
    case H5T_BITFIELD: self = .other("bit field")
    default:
      throw Failure(.badData, "\(place.description): has an element type that cannot be read")
    }
  }
}

/// A Swift type that is stored in and read from datasets.
package protocol Element: BitwiseCopyable, Sendable {
  static var elementType: ElementType { get }
  static var zero: Self { get }
  /// A value of a narrower stored type, one that `ElementType.fits(in:)` allows.
  static func widened(_ value: Int64) -> Self
  static func widened(_ value: Double) -> Self
}

extension Element where Self: BinaryInteger {
  package static func widened(_ value: Int64) -> Self { Self(value) }
  package static func widened(_ value: Double) -> Self { Self(value) }
}

extension Element where Self: BinaryFloatingPoint {
  package static func widened(_ value: Int64) -> Self { Self(value) }
  package static func widened(_ value: Double) -> Self { Self(value) }
}

extension UInt8: Element { package static var elementType: ElementType { .uint8 } }
extension UInt16: Element { package static var elementType: ElementType { .uint16 } }
extension Int32: Element { package static var elementType: ElementType { .int32 } }
extension Int64: Element { package static var elementType: ElementType { .int64 } }
extension UInt64: Element { package static var elementType: ElementType { .uint64 } }
extension Float: Element { package static var elementType: ElementType { .float32 } }
extension Double: Element { package static var elementType: ElementType { .float64 } }
