import CHDF5
import Core

/// The value of a scalar attribute.
package enum AttributeValue: Codable, Equatable, Sendable {
  case signed(Int64)
  case unsigned(UInt64)
  case real(Double)
  case text(String)
  /// Arrays and foreign types, which Lockstep shows but does not use.
  case other(String)
}

extension File {
  /// Attaches a scalar to a group or dataset; `/` is the file itself. An attribute of that name
  /// must not exist. Texts above 64 KB belong into a dataset.
  package func setAttribute(
    _ name: String, of object: String = "/", to value: AttributeValue
  ) throws(Failure) {
    let place = attributePlace(name, object)
    switch value {
    case .signed(let number): try setScalar(name, object, .int64, number)
    case .unsigned(let number): try setScalar(name, object, .uint64, number)
    case .real(let number): try setScalar(name, object, .float64, number)
    case .text(let text):
      let type = try Handle.stringType(place)
      let buffer = try TextBuffer([text], place)
      let attribute = try createAttribute(name, object, type.id)
      try Library.check(
        "write the attribute", place, .inputOutput,
        H5Awrite(attribute.id, type.id, buffer.pointers))
    case .other: preconditionFailure("foreign attributes are read only")
    }
  }

  /// Reads an attribute; nil when there is none of that name.
  package func attribute(
    _ name: String, of object: String = "/"
  ) throws(Failure) -> AttributeValue? {
    let place = attributePlace(name, object)
    let file = handle.id
    let exists = try Library.check(
      "look for the attribute", place, .badData,
      H5Aexists_by_name(file, object, name, lockstep_default()))
    guard exists > 0 else { return nil }
    let attribute = try Handle(
      .attribute, "open the attribute", place, .badData,
      H5Aopen_by_name(file, object, name, lockstep_default(), lockstep_default()))
    return try value(of: attribute, place)
  }

  /// Names of the attributes of a group or dataset, sorted.
  package func attributeNames(of object: String = "/") throws(Failure) -> [String] {
    let names = NameCollector()
    let file = handle.id
    try Library.check(
      "list the attributes", place(object), .badData,
      H5Aiterate_by_name(
        file, object, H5_INDEX_NAME, H5_ITER_INC, nil,
        { _, name, _, context in NameCollector.add(name, to: context) }, names.context,
        lockstep_default()))
    return names.names
  }

  private func attributePlace(_ name: String, _ object: String) -> Library.Place {
    place("attribute \(name) of \(object)")
  }

  private func setScalar<T: Element>(
    _ name: String, _ object: String, _ type: ElementType, _ value: T
  ) throws(Failure) {
    let attribute = try createAttribute(name, object, Library.value(type.identifier))
    let value = value
    try withUnsafePointer(to: value) { pointer in
      Result { () throws(Failure) in
        _ = try Library.check(
          "write the attribute", attributePlace(name, object), .inputOutput,
          H5Awrite(attribute.id, type.identifier, pointer))
      }
    }.get()
  }

  private func createAttribute(
    _ name: String, _ object: String, _ type: hid_t
  ) throws(Failure) -> Handle {
    let place = attributePlace(name, object)
    let space = try Handle.dataspace([], place)
    let file = handle.id
    return try Handle(
      .attribute, "create the attribute", place, .inputOutput,
      H5Acreate_by_name(
        file, object, name, type, space.id, lockstep_default(), lockstep_default(),
        lockstep_default()))
  }

  private func value(
    of attribute: borrowing Handle, _ place: Library.Place
  ) throws(Failure) -> AttributeValue {
    let id = attribute.id
    let space = try Handle(.dataspace, "read the shape", place, .badData, H5Aget_space(id))
    let stored = try Handle(.type, "read the type", place, .badData, H5Aget_type(id))
    let type = try ElementType(of: stored, place)
    let count = Library.value(H5Sget_simple_extent_npoints(space.id))
    guard count == 1 else { return .other("\(count) elements of \(type)") }
    switch type {
    case .string:
      let texts = try TextReading.texts(count: 1, stored: stored, place) { H5Aread(id, $0, $1) }
      return .text(texts.first ?? "")
    case .float32, .float64:
      return .real(try scalar(attribute, .float64, Double.zero, place))
    case .uint64: return .unsigned(try scalar(attribute, .uint64, UInt64.zero, place))
    case .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64:
      return .signed(try scalar(attribute, .int64, Int64.zero, place))
    case .other(let name): return .other(name)
    }
  }

  private func scalar<T: Element>(
    _ attribute: borrowing Handle, _ type: ElementType, _ initial: T, _ place: Library.Place
  ) throws(Failure) -> T {
    var value = initial
    let id = attribute.id
    try Library.check(
      "read the attribute", place, .badData, H5Aread(id, type.identifier, &value))
    return value
  }
}

/// Gathers the names a libhdf5 iteration calls back with.
final class NameCollector {
  /// In one group or of one object; nothing of Lockstep has more.
  private static let nameLimit = 100_000

  private(set) var names: [String] = []
  private(set) var linkTypes: [H5L_type_t] = []

  /// Valid as long as the collector lives.
  var context: UnsafeMutableRawPointer { Unmanaged.passUnretained(self).toOpaque() }

  static func add(
    _ name: UnsafePointer<CChar>?, linkType: H5L_type_t = H5L_TYPE_HARD,
    to context: UnsafeMutableRawPointer?
  ) -> herr_t {
    // A name that is not UTF-8 cannot be asked for again.
    guard let name, let context, let text = String(validatingCString: name) else { return -1 }
    let collector = Unmanaged<NameCollector>.fromOpaque(context).takeUnretainedValue()
    guard collector.names.count < nameLimit else { return -1 }
    collector.names.append(text)
    collector.linkTypes.append(linkType)
    return 0
  }
}
