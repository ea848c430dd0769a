import Core

/// What a confined process says about an HDF5 file: everything but the numbers in it, and where
/// those lie.
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
    /// Of elements that are one run of bytes.
    var offset: Int?
    var chunks: Chunks?
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

  /// Elements in filtered pieces, each a run of the row-major order.
  struct Chunks: Codable, Sendable {
    /// Elements of a whole piece.
    var elementCount: Int
    /// Elements after which a new piece begins in any case: the last piece of a row may be cut.
    var rowElementCount: Int
    var filters: [ChunkFilter]
    /// Address, stored bytes and mask of skipped filters, piece by piece.
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
