import Core

/// What a confined process says about an HDF5 file: everything but the numbers in it, and where
/// those lie, counted from the file's signature.
///
/// Whoever receives it believes none of it: `StoredFile` checks every number.
struct Structure: Codable, Sendable {
  // No file of Lockstep has more; a made one may try to exhaust its reader.
  static let objectLimit = 100_000
  static let attributeLimit = 100_000
  static let depthLimit = 32
  static let nameByteLimit = 255
  static let rankLimit = 8
  static let chunkLimit = 1 << 17
  /// Of one chunk, unpacked, and of one as it is stored.
  static let chunkByteLimit = 64 << 20
  static let storedChunkByteLimit = 2 * chunkByteLimit
  /// Of the chunks that are in memory at once (`ChunkGrid`).
  static let bandByteLimit = 256 << 20
  /// What elements may take in any case, however few bytes are stored.
  static let sparseByteLimit = 64 << 20
  /// Of all texts and names together.
  static let textByteLimit = 16 << 20
  /// How much more text than bytes a file may have.
  static let textAllowance = 64 << 10
  /// Of the encoded form.
  static let replyByteLimit = 64 << 20

  struct Object: Codable, Sendable {
    var path: String
    var kind: Node.Kind
    var shape: [Int] = []
    var type: ElementType?
    /// Of elements that are one run of bytes: its address.
    var offset: Int?
    var chunks: Chunks?
    /// The bytes of an element that was never written.
    var fill: [UInt8]?
    /// Elements of a string dataset.
    var texts: [String]?
    /// Why the elements cannot be read.
    var defect: String?
    var attributes: [Attribute] = []

    init(_ path: String, _ kind: Node.Kind) {
      self.path = path
      self.kind = kind
    }
  }

  struct Attribute: Codable, Sendable {
    var name: String
    var value: AttributeValue
  }

  /// Elements in pieces of one shape, which may have gone through filters.
  struct Chunks: Codable, Sendable {
    var shape: [Int]
    var filters: [ChunkFilter]
    /// Address, stored bytes and mask of skipped filters, chunk by chunk in the order of the grid
    /// (`ChunkGrid`); zeros for one that was never written.
    var places: [Int]
  }

  /// The root first, then in depth-first order.
  var objects: [Object]
}

/// What a confined process answers.
enum StructureReply: Codable {
  case structure(Structure)
  case failure(exitCode: Int32, message: String)
}

/// How the bytes of a chunk were changed before they were stored.
enum ChunkFilter: Int, Codable, Sendable {
  case deflate = 1
  case shuffle = 2
  case checksum = 3
}

extension ElementType: Codable {
  private static let named: [ElementType] = [
    .int8, .uint8, .int16, .uint16, .int32, .uint32, .int64, .uint64, .float32, .float64, .string,
  ]

  package init(from decoder: any Decoder) throws {
    let name = try decoder.singleValueContainer().decode(String.self)
    self = ElementType.named.first { $0.description == name } ?? .other(name)
  }

  package func encode(to encoder: any Encoder) throws {
    var container = encoder.singleValueContainer()
    try container.encode(description)
  }
}
