import Core
import Foundation
import HDF5
import Tensors

/// What `manifest.json` says about a checkpoint: whose it is and what every byte of it must be.
struct Manifest: Codable, Equatable, Sendable {
  struct Block: Codable, Equatable, Sendable {
    let offset: Int
    let length: Int
    /// XXH3-128 of these bytes, 32 hexadecimal digits.
    let digest: String
    /// Path of the tensor these bytes are of; nil for what belongs to HDF5.
    let tensor: String?

    private enum CodingKeys: String, CodingKey {
      case offset, length, tensor
      case digest = "xxh3_128"
    }

    /// Whether the bytes that can be read from a file are these; `scratch` holds any block.
    func fits(_ file: borrowing OpenFile, _ scratch: Vector) throws(Failure) -> Bool {
      let bytes = UnsafeMutableRawBufferPointer(rebasing: scratch.mutableBytes[..<length])
      try file.read(into: bytes, at: offset)
      return Digest(of: UnsafeRawBufferPointer(bytes)).description == digest
    }
  }

  var format = Format.manifest
  var formatVersion = Format.version
  var step: Int
  var runIdentifier: String
  var incarnation: Int
  /// Of the saved state; decides what `checkpoint.keep_best` keeps.
  var validationLoss: Double?
  var configurationDigest: String
  var datasetDigest: String
  /// Absent where `/state` has none.
  var contentDigest: String?
  var tokenizerDigest: String
  /// `digest` of the manifest of the checkpoint before this one: forks of a run are visible.
  var previousDigest: String?
  var fileByteCount: Int
  /// Ascending, without gaps from 0 to `fileByteCount`.
  var blocks: [Block]
  /// XXH3-128 of the manifest itself, taken with zeros in this place.
  var digest = Manifest.noDigest

  private enum CodingKeys: String, CodingKey {
    case format, step, incarnation, blocks
    case formatVersion = "format_version"
    case runIdentifier = "run"
    case validationLoss = "validation_loss"
    case configurationDigest = "configuration_digest"
    case datasetDigest = "dataset_digest"
    case contentDigest = "content_digest"
    case tokenizerDigest = "tokenizer_digest"
    case previousDigest = "previous_manifest_digest"
    case fileByteCount = "file_bytes"
    case digest = "manifest_digest"
  }

  private static let noDigest = String(repeating: "0", count: 32)
  /// Enough for the 50,000 blocks of a model of 10^10 parameters, and read within seconds.
  private static let byteLimit = 8 << 20

  init(
    header: CheckpointHeader, previousDigest: String?, fileByteCount: Int, blocks: [Block]
  ) {
    step = header.step
    runIdentifier = header.runIdentifier
    incarnation = header.incarnation
    validationLoss = header.validationLoss
    configurationDigest = header.configurationDigest.description
    datasetDigest = header.datasetDigest
    contentDigest = header.contentDigest
    tokenizerDigest = header.tokenizerDigest.description
    self.previousDigest = previousDigest
    self.fileByteCount = fileByteCount
    self.blocks = blocks
  }

  /// The file's bytes, sealed with the digest.
  ///
  /// Throws: `Failure(.cannotCreate)` for more than its readers take.
  func encoded() throws(Failure) -> [UInt8] {
    var draft = self
    draft.digest = Manifest.noDigest
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let data = try? encoder.encode(draft), let open = Manifest.digestRange(in: data) else {
      throw Failure(.internal, "a checkpoint's manifest cannot be encoded")
    }
    var bytes = Array(data)
    bytes.replaceSubrange(open, with: Digest(of: bytes).description.utf8)
    guard bytes.count < Manifest.byteLimit else {
      throw Failure(
        .cannotCreate,
        "\(Format.manifestFile): \(blocks.count) blocks take \(bytes.count) bytes, at most "
          + "\(Manifest.byteLimit) are read; the model is too large for a checkpoint")
    }
    return bytes + [UInt8(ascii: "\n")]
  }

  /// Reads a manifest and verifies it against its own digest.
  ///
  /// Throws: `Failure` (.missingInput when there is none, .badData when it is damaged or of a newer
  /// version).
  init(readingFrom path: String) throws(Failure) {
    let data = try Manifest.verifiedBytes(of: path)
    if let refusal = Manifest.refusalOfNewer(data, path) { throw refusal }
    // Whoever counts on from these numbers must not overflow, whoever wrote them.
    guard let manifest = try? JSONDecoder().decode(Manifest.self, from: data),
      manifest.format == Format.manifest, manifest.formatVersion >= 1,
      0..<1 << 53 ~= manifest.step, 0...1_000_000_000 ~= manifest.incarnation
    else { throw Failure(.badData, "\(path): is not the manifest of a checkpoint") }
    self = manifest
  }

  /// Why a checkpoint must be left to the newer Lockstep that has written it; nil for one of this
  /// version, and for one that is damaged.
  static func refusalOfNewer(at path: String) -> Failure? {
    (try? verifiedBytes(of: path)).flatMap { refusalOfNewer($0, path) }
  }

  /// What every version keeps in its place, with the digest of the manifest itself.
  private struct Version: Decodable {
    let format: String
    let formatVersion: Int

    private enum CodingKeys: String, CodingKey {
      case format
      case formatVersion = "format_version"
    }
  }

  private static func refusalOfNewer(_ data: Data, _ path: String) -> Failure? {
    guard let version = try? JSONDecoder().decode(Version.self, from: data),
      version.format == Format.manifest, version.formatVersion > Format.version
    else { return nil }
    return Failure(
      .badData,
      "\(path): has format \(version.formatVersion), this Lockstep reads up to"
        + " \(Format.version); use a newer Lockstep")
  }

  /// A manifest's bytes without the last line end, as its own digest has them.
  private static func verifiedBytes(of path: String) throws(Failure) -> Data {
    let bytes = try FileSystem.readAll(path, limit: Manifest.byteLimit, followsLinks: false)
    let damaged = Failure(.badData, "\(path): is damaged (its digest does not fit its bytes)")
    guard bytes.last == UInt8(ascii: "\n") else { throw damaged }
    let data = Data(bytes.dropLast())
    guard let range = Manifest.digestRange(in: data) else { throw damaged }
    let digest = String(decoding: data[range], as: UTF8.self)
    var draft = Array(data)
    draft.replaceSubrange(range, with: Manifest.noDigest.utf8)
    guard Digest(of: draft).description == digest else { throw damaged }
    return data
  }

  /// Whether it says of a checkpoint what that says of itself.
  func agrees(with header: CheckpointHeader) -> Bool {
    var own = Manifest(
      header: header, previousDigest: previousDigest, fileByteCount: fileByteCount, blocks: blocks)
    own.formatVersion = formatVersion
    own.digest = digest
    return own == self
  }

  /// Why a checkpoint's file is not what the manifest says.
  struct Damage: Equatable, Sendable {
    /// The first block whose digest differs; nil when the sizes do.
    let block: Block?
    let message: String
  }

  /// Verifies every byte of the checkpoint's file.
  ///
  /// Throws: `Failure(.badData)` naming the first damaged block and its tensor.
  func verify(_ file: borrowing OpenFile) throws(Failure) {
    if let damage = try firstDamage(in: file) { throw Failure(.badData, damage.message) }
  }

  /// The first thing that is wrong with the checkpoint's file.
  ///
  /// Throws: `Failure` (.inputOutput) when it cannot be read.
  func firstDamage(in file: borrowing OpenFile) throws(Failure) -> Damage? {
    let byteCount = try file.byteCount()
    guard byteCount == fileByteCount else {
      return Damage(
        block: nil,
        message: "\(file.path): has \(byteCount) bytes where its manifest says \(fileByteCount)")
    }
    guard describesEveryByte else {
      return Damage(
        block: nil, message: "\(file.path): its manifest does not describe every byte")
    }
    let buffer = FloatBuffer(count: StateVector.pieceCount)
    for block in blocks where try !block.fits(file, buffer.view) {
      let place = block.tensor.map { " of \(escaped($0))" } ?? ""
      return Damage(
        block: block,
        message: "\(file.path): is damaged in bytes \(block.offset) to "
          + "\(block.offset + block.length - 1)\(place) (their digest differs from the manifest)")
    }
    return nil
  }

  /// Whether the blocks follow each other from the first byte to the last.
  var describesEveryByte: Bool {
    var end = 0
    for block in blocks {
      guard block.offset == end, block.length > 0, block.length <= Manifest.blockByteLimit else {
        return false
      }
      end += block.length
    }
    return end == fileByteCount
  }

  /// The most a block covers.
  static let blockByteLimit = StateVector.pieceCount * MemoryLayout<Float>.size

  private static func digestRange(in data: Data) -> Range<Int>? {
    guard let key = data.range(of: Data("\"manifest_digest\":\"".utf8)),
      key.upperBound + 32 <= data.count
    else { return nil }
    return key.upperBound..<key.upperBound + 32
  }
}
