import CHDF5
import Core

/// An open dataset of a file in libhdf5: what it holds and where. Its numbers are read as those of
/// a `StoredDataset`.
package struct Dataset: ~Copyable, Sendable {
  package let shape: [Int]
  package let type: ElementType
  /// Byte offset of the first element in the file, when the elements are one unfiltered run there.
  package let offset: Int?
  package let storage: Storage

  let handle: Handle
  let place: Library.Place

  package var count: Int { shape.reduce(1, *) }

  /// Opens a dataset that keeps its elements inside its own file, with a shape that is plausible.
  init(_ object: String, in file: borrowing File) throws(Failure) {
    let place = file.place(object)
    let fileIdentifier = file.handle.id
    let handle = try Handle(
      .dataset, "open the dataset", place, .badData,
      H5Dopen2(fileIdentifier, object, lockstep_default()))
    let dataset = handle.id
    let typeHandle = try Handle(.type, "read the type", place, .badData, H5Dget_type(dataset))
    let type = try ElementType(of: typeHandle, place)
    let shape = try Dataset.shape(dataset, place)
    let isContiguous = try Dataset.isContiguous(dataset, place)
    try Dataset.requirePlausibleSize(dataset, type, shape, place)
    let address = Library.value(H5Dget_offset(dataset))

    self.place = place
    self.type = type
    self.shape = shape
    storage = isContiguous ? .contiguous : .compressed
    offset = isContiguous && address != lockstep_no_address() ? Int(exactly: address) : nil
    self.handle = handle
  }

  private static func shape(_ dataset: hid_t, _ place: Library.Place) throws(Failure) -> [Int] {
    let space = try Handle(.dataspace, "read the shape", place, .badData, H5Dget_space(dataset))
    guard Library.value(H5Sget_simple_extent_type(space.id)) != H5S_NULL else { return [0] }
    let rank = try Library.check(
      "read the rank", place, .badData, H5Sget_simple_extent_ndims(space.id))
    var dimensions = [hsize_t](repeating: 0, count: Int(rank))
    try Library.check(
      "read the shape", place, .badData,
      H5Sget_simple_extent_dims(space.id, &dimensions, nil))
    var byteCount = 8
    for dimension in dimensions {
      let (product, overflow) = byteCount.multipliedReportingOverflow(
        by: Int(exactly: dimension) ?? -1)
      guard product >= 0, !overflow else {
        throw Failure(.badData, "\(place.description): claims an impossible shape \(dimensions)")
      }
      byteCount = max(product, 8)
    }
    return dimensions.map { Int($0) }
  }

  private static func isContiguous(
    _ dataset: hid_t, _ place: Library.Place
  ) throws(Failure) -> Bool {
    let list = try Handle(
      .propertyList, "read the layout", place, .badData, H5Dget_create_plist(dataset))
    let layout = Library.value(H5Pget_layout(list.id))
    guard layout == H5D_CONTIGUOUS || layout == H5D_CHUNKED || layout == H5D_COMPACT else {
      throw Failure(
        .badData, "\(place.description): is put together from other files, which is not read")
    }
    // External storage may name any file of whoever reads, so it is refused before a byte is read.
    let external = try Library.check(
      "read the layout", place, .badData, H5Pget_external_count(list.id))
    guard external == 0 else {
      throw Failure(.badData, "\(place.description): keeps its data in other files: not read")
    }
    return layout == H5D_CONTIGUOUS
  }

  /// Refuses shapes that the stored bytes cannot fill, before anybody allocates for them.
  private static func requirePlausibleSize(
    _ dataset: hid_t, _ type: ElementType, _ shape: [Int], _ place: Library.Place
  ) throws(Failure) {
    let count = shape.reduce(1, *)
    guard type.byteCount > 0, count > 0 else { return }
    let stored = Library.value(H5Dget_storage_size(dataset))
    // Deflate shrinks to 1/1032 at best; what was never written takes no room at all.
    let limit = stored.multipliedReportingOverflow(by: 1100)
    guard
      limit.overflow
        || UInt64(count * type.byteCount)
          <= max(limit.partialValue, UInt64(Structure.sparseByteLimit))
    else {
      throw Failure(
        .badData,
        "\(place.description): has \(stored) bytes stored, far too few for shape \(shape)")
    }
  }
}

extension File {
  /// Opens a dataset.
  ///
  /// Throws: `Failure(.badData)` when there is none of that name or it is not to be trusted.
  package func dataset(_ object: String) throws(Failure) -> Dataset {
    try Dataset(object, in: self)
  }
}
