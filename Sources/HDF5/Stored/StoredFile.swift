import Core
import Foundation

/// An HDF5 file somebody gave us, open for reading.
///
/// Its structure was read by a process of its own that could not open, write or outlive anything
/// (`StructureService`); every number of that description has been checked against the file here,
/// and elements are read with plain reads at the checked places. libhdf5 never sees the file in
/// this process.
package final class StoredFile: Sendable {
  package let path: String
  package let byteCount: Int
  let file: OpenFile
  /// Where the file's signature is: what all addresses in it are counted from.
  let base: Int
  private let objects: [Structure.Object]
  /// By the bytes of the path: to HDF5, names that look alike are two.
  private let places: [[UInt8]: Int]

  /// How often the file's size filtered elements may take together.
  private static let expansionFactor = 64

  /// Opens a regular file.
  ///
  /// Throws: `Failure` (.missingInput; .badData when it is no HDF5 file or one that is refused).
  package static func open(_ path: String) throws(Failure) -> StoredFile {
    try StoredFile(try OpenFile(readingRegular: path))
  }

  /// Looks at a file that is open already: the same bytes whatever its name means meanwhile.
  ///
  /// - Parameter digest: of all its bytes, when they have just been read: what was found in a file
  ///   of this digest before is not looked for again.
  package convenience init(
    sharing file: borrowing OpenFile, digest: Digest? = nil
  ) throws(Failure) {
    try self.init(try file.duplicate(), digest: digest)
  }

  private init(_ file: consuming OpenFile, digest: Digest? = nil) throws(Failure) {
    path = file.path
    byteCount = try file.byteCount()
    guard byteCount > 0 else {
      throw Failure(.badData, "\(path): is empty; an HDF5 file was expected")
    }
    guard let base = try StoredFile.base(of: file, byteCount) else {
      throw Failure(.badData, "\(path): is not an HDF5 file, or its first bytes are damaged")
    }
    self.base = base
    let structure: Structure
    if let known = digest.flatMap({ KnownStructures.structure(of: $0) }) {
      structure = known
    } else {
      structure = try StructureRequest.structure(of: file)
      if let digest { KnownStructures.remember(structure, of: digest) }
    }
    objects = try StoredFile.checked(structure, path: path, byteCount: byteCount - base)
    places = Dictionary(
      uniqueKeysWithValues: objects.enumerated().map { (Array($1.path.utf8), $0) })
    self.file = file
  }

  private static func base(
    of file: borrowing OpenFile, _ byteCount: Int
  ) throws(Failure) -> Int? {
    for place in Signature.places(in: byteCount) {
      let found = try file.read(byteCount: Signature.bytes.count, at: place)
      if found == Signature.bytes { return place }
    }
    return nil
  }

  func object(_ path: String) -> Structure.Object? {
    places[Array(path.utf8)].map { objects[$0] }
  }

  func failure(_ object: String, _ message: String) -> Failure {
    Failure(.badData, "\(path): \(escaped(object)): \(message)")
  }
}

// MARK: - What is there

extension StoredFile {
  /// Whether an object of that absolute path exists.
  package func contains(_ object: String) -> Bool { self.object(object) != nil }

  /// Names in a group, sorted by their bytes.
  package func children(of group: String = "/") -> [String] {
    let prefix = group == "/" ? "/" : group + "/"
    return objects.compactMap { object in
      guard object.path.utf8.starts(with: prefix.utf8) else { return nil }
      let name = object.path.utf8.dropFirst(prefix.utf8.count)
      return name.isEmpty || name.contains(UInt8(ascii: "/")) ? nil : String(name)
    }
  }

  /// All objects below the root in depth-first order; links are not followed.
  package func tree() -> [Node] {
    objects.dropFirst().map { object in
      Node(
        path: object.path, kind: object.kind, shape: object.shape, type: object.type,
        defect: object.defect)
    }
  }

  /// Names of the attributes of an object, sorted.
  package func attributeNames(of object: String = "/") -> [String] {
    self.object(object)?.attributes.map(\.name) ?? []
  }

  /// An attribute; nil when there is none of that name.
  package func attribute(_ name: String, of object: String = "/") -> AttributeValue? {
    self.object(object)?.attributes.first { $0.name.utf8.elementsEqual(name.utf8) }?.value
  }

  /// A whole number that must be there.
  ///
  /// Throws: `Failure(.badData)` when it is missing or of another kind.
  package func integerAttribute(_ name: String, of object: String = "/") throws(Failure) -> Int {
    switch attribute(name, of: object) {
    case .signed(let number)?: return Int(number)
    case .unsigned(let number)?:
      if let number = Int(exactly: number) { return number }
    default: break
    }
    throw failure("attribute \(name) of \(object)", "a whole number was expected here")
  }

  /// A text that must be there.
  ///
  /// Throws: `Failure(.badData)` when it is missing or of another kind.
  package func textAttribute(_ name: String, of object: String = "/") throws(Failure) -> String {
    if case .text(let text)? = attribute(name, of: object) { return text }
    throw failure("attribute \(name) of \(object)", "a text was expected here")
  }

  /// A list of texts.
  ///
  /// Throws: `Failure(.badData)` when it is missing or of another kind.
  package func readTexts(_ object: String) throws(Failure) -> [String] {
    let found = try required(object)
    guard let texts = found.texts else {
      throw failure(object, "holds \(found.type.map { "\($0)" } ?? "no") elements, not text")
    }
    return texts
  }

  /// A scalar text.
  ///
  /// Throws: `Failure(.badData)` when it is missing or of another kind.
  package func readText(_ object: String) throws(Failure) -> String {
    let texts = try readTexts(object)
    guard texts.count == 1, let text = texts.first else {
      throw failure(object, "holds \(texts.count) texts, one was expected")
    }
    return text
  }

  /// Opens a dataset of numbers or texts.
  ///
  /// Throws: `Failure(.badData)` when there is none of that name or it cannot be read.
  package func dataset(_ object: String) throws(Failure) -> StoredDataset {
    StoredDataset(try required(object), in: self)
  }

  /// Reads a whole dataset in row-major order.
  package func read<T: Element>(
    _ object: String, as _: T.Type = T.self
  ) throws(Failure) -> [T] {
    try dataset(object).read()
  }

  private func required(_ path: String) throws(Failure) -> Structure.Object {
    guard let object = object(path), object.kind == .dataset else {
      throw failure(path, "there is no such dataset in the file")
    }
    if let defect = object.defect { throw Failure(.badData, defect) }
    return object
  }
}

// MARK: - Disbelief

extension StoredFile {
  /// The objects, with a defect where numbers cannot be true.
  ///
  /// - Parameter byteCount: from the signature to the end.
  /// Throws: `Failure(.badData)` for a description no honest reader of a file would give.
  private static func checked(
    _ structure: Structure, path: String, byteCount: Int
  ) throws(Failure) -> [Structure.Object] {
    var objects = structure.objects
    guard objects.first?.path == "/", objects.count <= Structure.objectLimit + 1,
      Set(objects.map { Array($0.path.utf8) }).count == objects.count
    else {
      throw Failure(.badData, "\(path): has a structure without a root or with names twice")
    }
    // Elements of different datasets do not share bytes, so all of them fit into the file: without
    // that, a small file could keep its reader busy for ever.
    var budget = Budget(
      stored: byteCount,
      unfiltered: max(
        Structure.sparseByteLimit, expansionFactor.multipliedClamping(by: byteCount)))
    for index in objects.indices where objects[index].defect == nil {
      if let problem = problem(objects[index], byteCount: byteCount, &budget) {
        objects[index].defect = "\(path): \(escaped(objects[index].path)): \(problem)"
      }
    }
    return objects
  }

  private struct Budget {
    var stored: Int
    var unfiltered: Int

    static func take(_ byteCount: Int, from budget: inout Int) -> Bool {
      guard byteCount <= budget else { return false }
      budget -= byteCount
      return true
    }
  }

  /// What is wrong with the number or the place of a dataset's elements.
  private static func problem(
    _ object: Structure.Object, byteCount: Int, _ budget: inout Budget
  ) -> String? {
    guard object.kind == .dataset else { return nil }
    guard let type = object.type else { return "lacks its type" }
    let impossible = "claims an impossible shape \(object.shape.prefix(Structure.rankLimit))"
    guard let count = elementCount(object.shape) else { return impossible }
    if type == .string {
      return object.texts?.count == count ? nil : "has another number of texts than its shape"
    }
    let (size, isTooLarge) = count.multipliedReportingOverflow(by: type.byteCount)
    guard !isTooLarge, type.byteCount > 0 else { return impossible }
    guard size > 0 else { return nil }
    let tooFew = "has far too few bytes stored for shape \(object.shape)"
    guard object.fill.map({ $0.count == type.byteCount }) ?? true else {
      return "has a value of another type for what was never written"
    }
    if let offset = object.offset {
      guard offset >= 0, offset <= byteCount, size <= byteCount - offset else { return tooFew }
      return Budget.take(size, from: &budget.stored) ? nil : "shares its bytes with others"
    }
    guard let chunks = object.chunks else {
      guard object.fill != nil else { return tooFew }
      return Budget.take(size, from: &budget.unfiltered) ? nil : tooFew
    }
    return problem(object, chunks, type, byteCount: byteCount, &budget)
  }

  private static func problem(
    _ object: Structure.Object, _ chunks: Structure.Chunks, _ type: ElementType, byteCount: Int,
    _ budget: inout Budget
  ) -> String? {
    let tooFew = "has far too few bytes stored for shape \(object.shape)"
    guard let grid = ChunkGrid(shape: object.shape, chunk: chunks.shape),
      case let chunkByteCount = grid.chunkElementCount.multipliedClamping(by: type.byteCount),
      chunkByteCount <= Structure.chunkByteLimit, chunks.filters.count <= 3
    else { return "has chunks of impossible size" }
    guard grid.chunkCount <= Structure.chunkLimit, chunks.places.count == 3 * grid.chunkCount else {
      return "has another number of chunks than its shape"
    }
    let band = grid.bandElementCount * type.byteCount
    guard band <= Structure.bandByteLimit else {
      let mebibytes = (band - 1) >> 20 + 1
      return "is stored in chunks of \(chunks.shape), \(mebibytes) MiB of which would have to be "
        + "in memory to read it row by row, and \(Structure.bandByteLimit >> 20) are; store it in "
        + "chunks of fewer rows, e.g. with h5repack"
    }
    guard
      Budget.take(
        grid.chunkCount.multipliedClamping(by: chunkByteCount), from: &budget.unfiltered)
    else { return "\(tooFew), or unpacks to more than is read" }
    for place in stride(from: 0, to: chunks.places.count, by: 3) {
      let (address, stored) = (chunks.places[place], chunks.places[place + 1])
      if address == 0, stored == 0, object.fill != nil { continue }
      guard address > 0, stored > 0, address <= byteCount, stored <= byteCount - address,
        stored <= Structure.storedChunkByteLimit, chunks.places[place + 2] >= 0
      else { return tooFew }
      guard Budget.take(stored, from: &budget.stored) else { return "shares its bytes with others" }
    }
    return nil
  }

  /// nil when there is no such number, also where the dimensions that are not 0 have none: whoever
  /// multiplies them in part must not overflow.
  private static func elementCount(_ shape: [Int]) -> Int? {
    guard shape.count <= Structure.rankLimit, shape.allSatisfy({ $0 >= 0 }) else { return nil }
    var product = 1
    for dimension in shape where dimension > 0 {
      let (next, overflow) = product.multipliedReportingOverflow(by: dimension)
      guard !overflow else { return nil }
      product = next
    }
    return shape.contains(0) ? 0 : product
  }
}

extension Int {
  /// The product of numbers that are not negative, or the largest there is.
  fileprivate func multipliedClamping(by other: Int) -> Int {
    let (product, overflow) = multipliedReportingOverflow(by: other)
    return overflow || product < 0 ? .max : product
  }
}
