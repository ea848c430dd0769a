import CHDF5
import Core

extension Dataset {
  /// Reads all texts of a string dataset, of variable or fixed length.
  ///
  /// Throws: `Failure(.badData)` when the elements are not strings or not UTF-8.
  package func readTexts() throws(Failure) -> [String] {
    guard type == .string else {
      throw Failure(.badData, "\(place.description): holds \(type) elements, not text")
    }
    let dataset = handle.id
    let stored = try Handle(.type, "read the type", place, .badData, H5Dget_type(dataset))
    let place = place
    return try TextReading.texts(count: count, stored: stored, place) { type, buffer in
      H5Dread(dataset, type, lockstep_all(), lockstep_all(), lockstep_default(), buffer)
    }
  }
}

/// Reading of strings, the same for datasets and attributes.
enum TextReading {
  /// Texts in one dataset or attribute: more is a mistake or an attack.
  private static let countLimit = 1 << 26

  static func texts(
    count: Int, stored: borrowing Handle, _ place: Library.Place,
    read: (hid_t, UnsafeMutableRawPointer) -> herr_t
  ) throws(Failure) -> [String] {
    guard count > 0 else { return [] }
    let storedIdentifier = stored.id
    let isVariable = try Library.check(
      "read the string type", place, .badData, H5Tis_variable_str(storedIdentifier))
    let size = isVariable > 0 ? 8 : Library.value(H5Tget_size(storedIdentifier))
    guard size > 0, size <= countLimit, count <= countLimit / size else {
      throw Failure(.badData, "\(place.description): claims \(count) texts, more than is read")
    }
    let encoding = Library.value(H5Tget_cset(storedIdentifier))
    let padding = Library.value(H5Tget_strpad(storedIdentifier))
    let type = try Handle.stringType(
      size: isVariable > 0 ? nil : size, padding: padding, encoding: encoding, place)
    return isVariable > 0
      ? try variable(count, type, place, read) : try fixed(count, size, type, place, read)
  }

  private static func variable(
    _ count: Int, _ type: borrowing Handle, _ place: Library.Place,
    _ read: (hid_t, UnsafeMutableRawPointer) -> herr_t
  ) throws(Failure) -> [String] {
    let typeIdentifier = type.id
    let space = try Handle.dataspace([count], place)
    let pointers = UnsafeMutablePointer<UnsafePointer<CChar>?>.allocate(capacity: count)
    pointers.initialize(repeating: nil, count: count)
    defer { pointers.deallocate() }
    try Library.check("read the text", place, .badData, read(typeIdentifier, pointers))
    var texts: [String?] = []
    texts.reserveCapacity(count)
    for index in 0..<count {
      texts.append(pointers[index].map { String(validatingCString: $0) } ?? "")
    }
    try Library.check(
      "free the text", place, .internal,
      H5Dvlen_reclaim(typeIdentifier, space.id, lockstep_default(), pointers))
    return try texts.map { text throws(Failure) in
      guard let text else { throw notUTF8(place) }
      return text
    }
  }

  private static func fixed(
    _ count: Int, _ size: Int, _ type: borrowing Handle, _ place: Library.Place,
    _ read: (hid_t, UnsafeMutableRawPointer) -> herr_t
  ) throws(Failure) -> [String] {
    let typeIdentifier = type.id
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: count * size, alignment: 1)
    defer { bytes.deallocate() }
    guard let base = bytes.baseAddress else { return [] }
    try Library.check("read the text", place, .badData, read(typeIdentifier, base))
    var texts: [String] = []
    for index in 0..<count {
      let slot = bytes[index * size..<(index + 1) * size].prefix { $0 != 0 }
      guard let text = String(validating: slot, as: UTF8.self) else { throw notUTF8(place) }
      texts.append(text)
    }
    return texts
  }

  private static func notUTF8(_ place: Library.Place) -> Failure {
    Failure(.badData, "\(place.description): holds text that is not UTF-8")
  }
}
