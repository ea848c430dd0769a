import CHDF5
import Core
import Foundation

/// An HDF5 file of our own making, open in libhdf5; objects in it are named by absolute paths
/// (`/source/tokens`). What others made is read as a `StoredFile`.
///
/// Dropping the value closes the file. Whoever wrote calls `close()` or `closeAndReturnImage()`,
/// which report what went wrong.
package struct File: ~Copyable, Sendable {
  /// Where libhdf5 may place things, for files whose data somebody else will write.
  package struct Placement: Sendable {
    /// Metadata is gathered in blocks of this many bytes at the front.
    package var metadataBlockByteCount: Int
    /// Objects of at least `alignmentThreshold` bytes start at multiples of this.
    package var alignment: Int
    package var alignmentThreshold: Int

    package init(metadataBlockByteCount: Int, alignment: Int, alignmentThreshold: Int) {
      self.metadataBlockByteCount = metadataBlockByteCount
      self.alignment = alignment
      self.alignmentThreshold = alignmentThreshold
    }
  }

  package let path: String
  let handle: Handle

  private init(path: String, handle: consuming Handle) {
    self.path = path
    self.handle = handle
  }

  func place(_ object: String? = nil) -> Library.Place {
    Library.Place(file: path, object: object)
  }

  /// Creates a file, replacing one that exists. libhdf5 itself does the writing: it may crash on a
  /// full disk, so what matters is built by `createInMemory`.
  ///
  /// Throws: `Failure(.cannotCreate)`.
  package static func create(
    at path: String, placement: Placement? = nil
  ) throws(Failure) -> File {
    let place = Library.Place(file: path, object: nil)
    let access = try accessList(place)
    if let placement {
      try Library.check(
        "set the metadata block size", place, .internal,
        H5Pset_meta_block_size(access.id, hsize_t(placement.metadataBlockByteCount)))
      try Library.check(
        "set the alignment", place, .internal,
        H5Pset_alignment(
          access.id, hsize_t(placement.alignmentThreshold), hsize_t(placement.alignment)))
    }
    let handle = try Handle(
      .file, "create the file", place, .cannotCreate,
      H5Fcreate(path, lockstep_truncate(), lockstep_default(), access.id))
    return File(path: path, handle: handle)
  }

  /// Creates a file that exists in memory only; `closeAndReturnImage()` gives its bytes, to be
  /// written by checked means. `name` appears in errors.
  package static func createInMemory(named name: String) throws(Failure) -> File {
    let place = Library.Place(file: name, object: nil)
    let access = try accessList(place)
    try Library.check(
      "keep the file in memory", place, .internal, H5Pset_fapl_core(access.id, 1 << 20, false))
    let handle = try Handle(
      .file, "create the file", place, .internal,
      H5Fcreate(name, lockstep_truncate(), lockstep_default(), access.id))
    return File(path: name, handle: handle)
  }

  /// Opens the file behind a descriptor for reading, with a driver that opens nothing.
  ///
  /// Only for a process that has nothing to lose: libhdf5 trusts the bytes it is given.
  /// Throws: `Failure(.badData)` when it is not HDF5 or truncated.
  static func open(
    descriptor: Int32, driver: hid_t, path: String
  ) throws(Failure) -> File {
    let place = Library.Place(file: path, object: nil)
    let access = try accessList(place)
    try Library.check(
      "choose the driver", place, .internal, H5Pset_driver(access.id, driver, nil))
    do throws(Failure) {
      let handle = try Handle(
        .file, "open the file", place, .badData,
        H5Fopen("\(descriptor)", lockstep_read_only(), access.id))
      return File(path: path, handle: handle)
    } catch {
      guard error.message.contains("truncated file") else { throw error }
      let byteCount = DescriptorDriver.byteCount(of: descriptor) ?? 0
      throw Failure(
        .badData,
        "\(path): is truncated: it has \(byteCount) bytes, its header promises more; "
          + "copy or make it again")
    }
  }

  /// Formats between HDF5 1.0 and 1.10: whatever reads HDF5 reads these.
  private static func accessList(_ place: Library.Place) throws(Failure) -> Handle {
    let access = try Handle.propertyList(place, of: lockstep_file_access())
    try Library.check(
      "bound the format version", place, .internal,
      H5Pset_libver_bounds(access.id, H5F_LIBVER_EARLIEST, H5F_LIBVER_V110))
    return access
  }

  /// Writes what libhdf5 still holds and closes; after it the file is whole, though not yet synced.
  ///
  /// Throws: `Failure(.inputOutput)`; the file must then be thrown away.
  package consuming func close() throws(Failure) {
    let place = place()
    try Library.check(
      "flush the file", place, .inputOutput, H5Fflush(handle.id, H5F_SCOPE_GLOBAL))
    try handle.close("close the file", place, .inputOutput)
  }

  /// Closes a file made by `createInMemory` and returns its bytes.
  package consuming func closeAndReturnImage() throws(Failure) -> [UInt8] {
    let place = place()
    try Library.check("flush the file", place, .internal, H5Fflush(handle.id, H5F_SCOPE_GLOBAL))
    let id = handle.id
    let byteCount = try Library.check(
      "size the file image", place, .internal, H5Fget_file_image(id, nil, 0))
    var image = [UInt8](repeating: 0, count: byteCount)
    let written = try image.withUnsafeMutableBytes { bytes in
      Result { () throws(Failure) in
        try Library.check(
          "take the file image", place, .internal,
          H5Fget_file_image(id, bytes.baseAddress, bytes.count))
      }
    }.get()
    precondition(written == byteCount, "a file image of another size")
    try handle.close("close the file", place, .internal)
    return image
  }
}
