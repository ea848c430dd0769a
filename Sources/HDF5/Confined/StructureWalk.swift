import CHDF5
import Core

/// Describes a file by what is allowed in it; whatever else there is gets a defect that says so.
///
/// Allowed: groups and hard links; plain little-endian numbers of simple shape, contiguous or in
/// chunks, deflated, shuffled, checksummed; texts.
struct StructureWalk: ~Copyable {
  private let file: File
  private var objects: [Structure.Object] = []
  private var seen: Set<haddr_t> = []
  private var attributeCount = 0
  /// Bytes of names and texts that may still be described. Those of a real file are in it; a made
  /// one packs them, or says the beginning of long names again for each object below.
  private var textBudget: Int
  private var chunkCount = 0

  private init(_ file: consuming File, byteCount: Int) {
    self.file = file
    textBudget = min(byteCount + Structure.textAllowance, Structure.textByteLimit)
  }

  /// Throws: `Failure(.badData)` for a file that is broken or beyond the limits as a whole.
  static func structure(
    of file: consuming File, byteCount: Int
  ) throws(Failure) -> Structure {
    var walk = StructureWalk(file, byteCount: byteCount)
    walk.seen = [try walk.file.information("/").addr]
    var root = Structure.Object("/", .group)
    root.attributes = try walk.attributes(of: "/")
    walk.objects.append(root)
    try walk.visit("", depth: 0)
    return Structure(objects: walk.objects)
  }

  private mutating func visit(_ group: String, depth: Int) throws(Failure) {
    let links = try file.links(of: group.isEmpty ? "/" : group)
    for (name, linkType) in zip(links.names, links.linkTypes) {
      let path = group + "/" + name
      guard !name.isEmpty, name != ".", !name.utf8.contains(UInt8(ascii: "/")),
        name.utf8.count <= Structure.nameByteLimit
      else { throw failure("\(path.prefix(80))...", "has a name that no file of Lockstep has") }
      guard objects.count < Structure.objectLimit, depth < Structure.depthLimit else {
        throw failure(
          path,
          "more than \(Structure.objectLimit) objects or \(Structure.depthLimit) levels, which no "
            + "file of Lockstep has")
      }
      try spend(path.utf8.count, path)
      guard linkType == H5L_TYPE_HARD else {
        objects.append(Structure.Object(path, .link))
        continue
      }
      let information: lockstep_object_info
      do throws(Failure) {
        information = try file.information(path)
      } catch {
        // One that this libhdf5 does not know hides none of the others.
        var object = Structure.Object(path, .dataset)
        object.defect = error.message
        objects.append(object)
        continue
      }
      guard seen.insert(information.addr).inserted else {
        objects.append(Structure.Object(path, .link))
        continue
      }
      switch information.type {
      case H5O_TYPE_GROUP:
        var object = Structure.Object(path, .group)
        object.attributes = try attributes(of: path)
        objects.append(object)
        try visit(path, depth: depth + 1)
      case H5O_TYPE_DATASET:
        var object = Structure.Object(path, .dataset)
        do throws(Failure) {
          try describe(&object)
        } catch {
          object.defect = error.message
        }
        do throws(Failure) {
          object.attributes = try attributes(of: path)
        } catch {
          // Of what cannot be opened none can be listed; the others are still there.
          guard object.defect != nil else { throw error }
        }
        objects.append(object)
      default: objects.append(Structure.Object(path, .namedType))
      }
    }
  }

  private mutating func describe(_ object: inout Structure.Object) throws(Failure) {
    let dataset = try file.dataset(object.path)
    object.shape = dataset.shape
    object.type = dataset.type
    guard dataset.shape.count <= Structure.rankLimit else {
      throw failure(object.path, "has \(dataset.shape.count) dimensions, more than are read")
    }
    switch dataset.type {
    case .other(let name): throw failure(object.path, "holds \(name) elements, which are not read")
    case .string:
      let texts = try dataset.readTexts()
      try spend(texts.reduce(texts.count * 8) { $0 + $1.utf8.count }, object.path)
      object.texts = texts
    default:
      guard dataset.count > 0 else { return }
      if dataset.storage == .contiguous {
        object.offset = dataset.offset
        if dataset.offset == nil { object.fill = try fill(of: dataset, object.path) }
      } else {
        object.chunks = try chunks(of: dataset, object.path)
        object.fill = try fill(of: dataset, object.path)
      }
    }
  }

  private mutating func chunks(
    of dataset: borrowing Dataset, _ path: String
  ) throws(Failure) -> Structure.Chunks {
    let place = file.place(path)
    let identifier = dataset.handle.id
    let list = try Handle(
      .propertyList, "read the layout", place, .badData, H5Dget_create_plist(identifier))
    let shape = try chunkShape(list, rank: dataset.shape.count, place)
    let filters = try filters(list, elementByteCount: dataset.type.byteCount, place)
    guard let grid = ChunkGrid(shape: dataset.shape, chunk: shape) else {
      throw failure(path, "has chunks of impossible size")
    }
    guard grid.chunkCount <= Structure.chunkLimit - chunkCount else {
      throw failure(path, "has more than \(Structure.chunkLimit) chunks")
    }
    chunkCount += grid.chunkCount
    let space = try Handle(.dataspace, "read the shape", place, .badData, H5Dget_space(identifier))
    var stored: hsize_t = 0
    try Library.check(
      "count the chunks", place, .badData, H5Dget_num_chunks(identifier, space.id, &stored))
    var found: hsize_t = 0
    var places: [Int] = []
    places.reserveCapacity(3 * grid.chunkCount)
    for number in 0..<grid.chunkCount {
      let chunk = try self.place(ofChunkAt: grid.start(ofChunk: number), of: dataset, path)
      found += chunk == nil ? 0 : 1
      places += chunk ?? [0, 0, 0]
    }
    // What could not be looked up must not pass for what was never written.
    guard found >= stored else {
      throw failure(path, "has \(stored) chunks stored, of which \(found) are found")
    }
    return Structure.Chunks(shape: shape, filters: filters, places: places)
  }

  /// Address, stored bytes and mask of a chunk; nil for one that is not in the index.
  ///
  /// Cost: two looks into the index of the chunks. What tells the address of a chunk
  /// (`H5Dget_chunk_info_by_coord`) goes through all of them for each.
  private func place(
    ofChunkAt start: [Int], of dataset: borrowing Dataset, _ path: String
  ) throws(Failure) -> [Int]? {
    let place = file.place(path)
    let identifier = dataset.handle.id
    let start = start.map { hsize_t($0) }
    var size: hsize_t = 0
    // For a chunk that was never written version 1.10 has an error, later ones say 0.
    let code = Library.value(H5Dget_chunk_storage_size(identifier, start, &size))
    guard code >= 0, size > 0 else { return nil }
    guard size <= hsize_t(Structure.storedChunkByteLimit) else {
      throw failure(path, "has chunks of impossible size")
    }
    var mask: UInt32 = 0
    let buffer = UnsafeMutableRawPointer.allocate(byteCount: Int(size), alignment: 8)
    defer { buffer.deallocate() }
    let found = try DescriptorDriver.places { () throws(Failure) in
      _ = try Library.check(
        "find a chunk", place, .badData,
        H5Dread_chunk(identifier, lockstep_default(), start, &mask, buffer))
    }
    guard found.count == 1, found[0].byteCount == Int(size),
      let address = Int(exactly: found[0].address)
    else { throw failure(path, "has a chunk at \(start) that is not one run of bytes") }
    return [address, Int(size), Int(mask)]
  }

  /// What reads as the elements that were never written; nil where that is not laid down.
  private func fill(
    of dataset: borrowing Dataset, _ path: String
  ) throws(Failure) -> [UInt8]? {
    let place = file.place(path)
    let list = try Handle(
      .propertyList, "read the layout", place, .badData, H5Dget_create_plist(dataset.handle.id))
    let id = list.id
    var (definition, time) = (H5D_FILL_VALUE_ERROR, H5D_FILL_TIME_ERROR)
    try Library.check(
      "read the fill value", place, .badData, H5Pfill_value_defined(id, &definition))
    try Library.check("read the fill value", place, .badData, H5Pget_fill_time(id, &time))
    guard definition != H5D_FILL_VALUE_UNDEFINED, time != H5D_FILL_TIME_NEVER else { return nil }
    var value = [UInt8](repeating: 0, count: dataset.type.byteCount)
    let type = dataset.type
    try Library.check(
      "read the fill value", place, .badData, H5Pget_fill_value(id, type.identifier, &value))
    return value
  }

  private func chunkShape(
    _ list: borrowing Handle, rank: Int, _ place: Library.Place
  ) throws(Failure) -> [Int] {
    let id = list.id
    guard Library.value(H5Pget_layout(id)) == H5D_CHUNKED else {
      throw Failure(.badData, "\(place.description): keeps its elements in its header: not read")
    }
    var dimensions = [hsize_t](repeating: 0, count: max(1, rank))
    let found = try Library.check(
      "read the chunk shape", place, .badData, H5Pget_chunk(id, Int32(rank), &dimensions))
    let chunk = dimensions.compactMap { Int(exactly: $0) }
    guard rank > 0, found == rank, chunk.count == rank, chunk.allSatisfy({ $0 > 0 }) else {
      throw Failure(.badData, "\(place.description): has chunks of impossible shape")
    }
    var options: UInt32 = 0
    try Library.check(
      "read the chunk options", place, .badData, H5Pget_chunk_opts(id, &options))
    guard options == 0 else {
      throw Failure(.badData, "\(place.description): stores chunks in a way that is not read")
    }
    return chunk
  }

  private func filters(
    _ list: borrowing Handle, elementByteCount: Int, _ place: Library.Place
  ) throws(Failure) -> [ChunkFilter] {
    let id = list.id
    let count = try Library.check("count the filters", place, .badData, H5Pget_nfilters(id))
    var filters: [ChunkFilter] = []
    for index in 0..<max(0, count) {
      var flags: UInt32 = 0
      var values = [UInt32](repeating: 0, count: 4)
      var valueCount = values.count
      let code = try Library.check(
        "read the filters", place, .badData,
        H5Pget_filter2(id, UInt32(index), &flags, &valueCount, &values, 0, nil, nil))
      guard let filter = ChunkFilter(rawValue: Int(code)), !filters.contains(filter) else {
        throw Failure(.badData, "\(place.description): went through filter \(code), unknown here")
      }
      guard filter != .shuffle || Int(values[0]) == elementByteCount else {
        throw Failure(.badData, "\(place.description): is shuffled as if of another type")
      }
      filters.append(filter)
    }
    return filters
  }

  private mutating func attributes(
    of path: String
  ) throws(Failure) -> [Structure.Attribute] {
    var attributes: [Structure.Attribute] = []
    for name in try file.attributeNames(of: path) {
      attributeCount += 1
      guard attributeCount <= Structure.attributeLimit, name.utf8.count <= Structure.nameByteLimit
      else { throw failure(path, "has more or longer attributes than any file of Lockstep") }
      let value: AttributeValue
      do throws(Failure) {
        value = try file.attribute(name, of: path) ?? .other("gone")
      } catch {
        value = .other("cannot be read")
      }
      if case .text(let text) = value { try spend(text.utf8.count, path) }
      try spend(name.utf8.count, path)
      attributes.append(Structure.Attribute(name: name, value: value))
    }
    return attributes
  }

  private mutating func spend(_ byteCount: Int, _ path: String) throws(Failure) {
    guard byteCount <= textBudget else {
      throw failure(
        "\(path.prefix(200))",
        "holds more text than is read: with all names, \(Structure.textByteLimit) bytes and not "
          + "much more than the file")
    }
    textBudget -= byteCount
  }

  private func failure(_ path: String, _ message: String) -> Failure {
    Failure(.badData, "\(file.place(path).description): \(message)")
  }
}
