import CHDF5
import Core

/// How a dataset lies in its file.
package enum Storage: Sendable {
  /// One run of bytes: fast, and readable at `Dataset.offset` without libhdf5.
  case contiguous
  /// Chunks of 128 Ki elements, shuffled, deflated and checksummed (fletcher32). Token ids shrink by
  /// half; a damaged chunk is an error when it is read.
  case compressed

  static let chunkElements = 128 << 10
  static let deflateLevel: UInt32 = 4
}

extension File {
  /// Creates a group and the groups above it.
  package func createGroup(_ object: String) throws(Failure) {
    let links = try intermediateLinks(object)
    let file = handle.id
    _ = try Handle(
      .group, "create the group", place(object), .inputOutput,
      H5Gcreate2(file, object, links.id, lockstep_default(), lockstep_default()))
  }

  /// Writes a whole one-dimensional dataset; groups above it are created.
  ///
  /// Throws: `Failure(.inputOutput)`; the file must then be thrown away.
  package func write<T: Element>(
    _ values: [T], to object: String, storage: Storage = .contiguous
  ) throws(Failure) {
    try write(values, shape: [values.count], to: object, storage: storage)
  }

  /// Writes a whole dataset of any rank from its elements in row-major order; a shape without dimensions
  /// is a scalar.
  package func write<T: Element>(
    _ values: [T], shape: [Int], to object: String, storage: Storage = .contiguous
  ) throws(Failure) {
    precondition(shape.reduce(1, *) == values.count, "shape does not match the count")
    let place = place(object)
    let list = try creationList(shape, storage, place)
    let dataset = try createDataset(object, T.elementType, shape, list)
    try values.withUnsafeBytes { bytes in
      Result { () throws(Failure) in
        _ = try Library.check(
          "write", place, .inputOutput,
          H5Dwrite(
            dataset.id, T.elementType.identifier, lockstep_all(), lockstep_all(),
            lockstep_default(), bytes.baseAddress))
      }
    }.get()
    try dataset.close("finish writing", place, .inputOutput)
  }

  /// Reserves room for a contiguous dataset that somebody else will fill, and returns the byte offset of
  /// its first element in the file. A dataset without elements has no place: the result is nil.
  package func reserve(
    _ type: ElementType, shape: [Int], at object: String
  ) throws(Failure) -> Int? {
    let place = place(object)
    let list = try creationList(shape, .contiguous, place)
    try Library.check(
      "allocate early", place, .internal, H5Pset_alloc_time(list.id, H5D_ALLOC_TIME_EARLY))
    try Library.check(
      "leave unfilled", place, .internal, H5Pset_fill_time(list.id, H5D_FILL_TIME_NEVER))
    let dataset = try createDataset(object, type, shape, list)
    let address = Library.value(H5Dget_offset(dataset.id))
    try dataset.close("finish reserving", place, .inputOutput)
    return address == lockstep_no_address() ? nil : Int(address)
  }

  /// Writes a scalar dataset holding one text of any length.
  package func writeText(_ text: String, to object: String) throws(Failure) {
    try writeTexts([text], shape: [], to: object)
  }

  /// Writes a one-dimensional dataset of texts.
  package func writeTexts(_ texts: [String], to object: String) throws(Failure) {
    try writeTexts(texts, shape: [texts.count], to: object)
  }

  private func writeTexts(
    _ texts: [String], shape: [Int], to object: String
  ) throws(Failure) {
    let place = place(object)
    let type = try Handle.stringType(place)
    let list = try creationList(shape, .contiguous, place)
    let space = try Handle.dataspace(shape, place)
    let links = try intermediateLinks(object)
    let file = handle.id
    let dataset = try Handle(
      .dataset, "create the dataset", place, .inputOutput,
      H5Dcreate2(file, object, type.id, space.id, links.id, list.id, lockstep_default()))
    let buffer = try TextBuffer(texts, place)
    try Library.check(
      "write", place, .inputOutput,
      H5Dwrite(
        dataset.id, type.id, lockstep_all(), lockstep_all(), lockstep_default(), buffer.pointers))
    try dataset.close("finish writing", place, .inputOutput)
  }

  private func createDataset(
    _ object: String, _ type: ElementType, _ shape: [Int], _ list: borrowing Handle
  ) throws(Failure) -> Handle {
    let place = place(object)
    let space = try Handle.dataspace(shape, place)
    let links = try intermediateLinks(object)
    let (file, listIdentifier) = (handle.id, list.id)
    return try Handle(
      .dataset, "create the dataset", place, .inputOutput,
      H5Dcreate2(
        file, object, type.identifier, space.id, links.id, listIdentifier, lockstep_default()))
  }

  private func intermediateLinks(_ object: String) throws(Failure) -> Handle {
    let links = try Handle.propertyList(place(object), of: lockstep_link_create())
    try Library.check(
      "create groups above", place(object), .internal,
      H5Pset_create_intermediate_group(links.id, 1))
    return links
  }

  private func creationList(
    _ shape: [Int], _ storage: Storage, _ place: Library.Place
  ) throws(Failure) -> Handle {
    let list = try Handle.propertyList(place, of: lockstep_dataset_create())
    // Times would make two equal preparations differ.
    try Library.check(
      "switch times off", place, .internal, H5Pset_obj_track_times(list.id, false))
    // Nothing is in a chunk of an empty dataset, and a scalar has no chunks.
    guard case .compressed = storage, !shape.isEmpty, !shape.contains(0) else { return list }
    let chunk = File.chunkShape(shape).map { hsize_t($0) }
    try Library.check(
      "set the chunk shape", place, .internal, H5Pset_chunk(list.id, Int32(chunk.count), chunk))
    try Library.check("shuffle", place, .internal, H5Pset_shuffle(list.id))
    try Library.check("deflate", place, .internal, H5Pset_deflate(list.id, Storage.deflateLevel))
    try Library.check("checksum", place, .internal, H5Pset_fletcher32(list.id))
    return list
  }

  /// Whole rows, as many as come to about `Storage.chunkElements` elements.
  static func chunkShape(_ shape: [Int]) -> [Int] {
    var chunk = shape
    var room = Storage.chunkElements
    for dimension in shape.indices.reversed() {
      chunk[dimension] = max(1, min(shape[dimension], room))
      room /= chunk[dimension]
    }
    return chunk
  }
}

/// Texts as the array of C strings that libhdf5 reads variable-length strings from.
struct TextBuffer: ~Copyable {
  private let storage: UnsafeMutablePointer<UInt8>
  let pointers: UnsafeMutablePointer<UnsafeMutablePointer<UInt8>?>

  /// Throws: `Failure(.badData)` for a text with a NUL inside, which C would cut off.
  init(_ texts: [String], _ place: Library.Place) throws(Failure) {
    for text in texts where text.utf8.contains(0) {
      throw Failure(.badData, "\(place.description): a text to be stored contains a NUL character")
    }
    let byteCount = texts.reduce(0) { $0 + $1.utf8.count + 1 }
    storage = .allocate(capacity: max(1, byteCount))
    pointers = .allocate(capacity: max(1, texts.count))
    var end = storage
    for (index, text) in texts.enumerated() {
      (pointers + index).initialize(to: end)
      for byte in text.utf8 {
        end.initialize(to: byte)
        end += 1
      }
      end.initialize(to: 0)
      end += 1
    }
  }

  deinit {
    storage.deallocate()
    pointers.deallocate()
  }
}
