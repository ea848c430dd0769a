import CHDF5
import Core

/// Owns one libhdf5 identifier and closes it.
struct Handle: ~Copyable, Sendable {
  enum Kind: Sendable {
    case file, group, dataset, dataspace, type, propertyList, attribute
  }

  let id: hid_t
  private let kind: Kind

  /// Takes over the identifier that `call` returns.
  ///
  /// Throws: as `Library.check`.
  init(
    _ kind: Kind, _ verb: String, _ place: Library.Place, _ exitCode: ExitCode,
    _ call: @autoclosure () -> hid_t
  ) throws(Failure) {
    self.kind = kind
    id = try Library.check(verb, place, exitCode, call())
  }

  deinit {
    // A failing close of something that was only read loses nothing; writers call `close`.
    _ = Library.value(Handle.close(id, kind))
  }

  /// Closes now and says whether that worked, which for a written file means: whether it is whole.
  consuming func close(
    _ verb: String, _ place: Library.Place, _ exitCode: ExitCode
  ) throws(Failure) {
    let (id, kind) = (id, kind)
    discard self
    try Library.check(verb, place, exitCode, Handle.close(id, kind))
  }

  private static func close(_ id: hid_t, _ kind: Kind) -> herr_t {
    switch kind {
    case .file: H5Fclose(id)
    case .group: H5Gclose(id)
    case .dataset: H5Dclose(id)
    case .dataspace: H5Sclose(id)
    case .type: H5Tclose(id)
    case .propertyList: H5Pclose(id)
    case .attribute: H5Aclose(id)
    }
  }
}

extension Handle {
  /// A property list of a class, e.g. `lockstep_file_access()`.
  static func propertyList(
    _ place: Library.Place, of listClass: @autoclosure () -> hid_t
  ) throws(Failure) -> Handle {
    try Handle(.propertyList, "make a property list", place, .internal, H5Pcreate(listClass()))
  }

  /// A dataspace of a shape; no dimension means a scalar.
  static func dataspace(_ shape: [Int], _ place: Library.Place) throws(Failure) -> Handle {
    precondition(shape.allSatisfy { $0 >= 0 }, "a dimension cannot be negative")
    let dimensions = shape.map { hsize_t($0) }
    return try Handle(
      .dataspace, "make a dataspace", place, .internal,
      shape.isEmpty
        ? H5Screate(H5S_SCALAR) : H5Screate_simple(Int32(dimensions.count), dimensions, nil))
  }

  /// A string type: variable-length without a size, of exactly `size` bytes with one.
  static func stringType(
    size: Int? = nil, padding: H5T_str_t = H5T_STR_NULLTERM, encoding: H5T_cset_t = H5T_CSET_UTF8,
    _ place: Library.Place
  ) throws(Failure) -> Handle {
    let type = try Handle(
      .type, "make a string type", place, .internal, H5Tcopy(lockstep_c_s1()))
    try Library.check(
      "size a string type", place, .internal,
      H5Tset_size(type.id, size ?? lockstep_variable_size()))
    try Library.check(
      "pad a string type", place, .internal, H5Tset_strpad(type.id, padding))
    try Library.check(
      "encode a string type", place, .internal, H5Tset_cset(type.id, encoding))
    return type
  }
}
