import Core
import Foundation
import HDF5

/// Whether every byte of a checkpoint is what its manifest says, found without libhdf5 and in
/// blocks.
package struct VerificationReport: Codable, Equatable, Sendable {
  /// The first run of bytes that is not what it should be.
  package struct DamagedBlock: Codable, Equatable, Sendable {
    package let offset: Int
    package let length: Int
    /// nil when the bytes belong to HDF5 itself.
    package let tensor: String?

    package init(offset: Int, length: Int, tensor: String?) {
      (self.offset, self.length, self.tensor) = (offset, length, tensor)
    }
  }

  /// The checkpoint's folder.
  package let path: String
  package let isSound: Bool
  /// What is wrong; nil when nothing is.
  package let problem: String?
  package let damagedBlock: DamagedBlock?
  // What the manifest says, when it can be read.
  package let step: Int?
  package let run: String?
  package let incarnation: Int?
  package let byteCount: Int?
  package let blockCount: Int?

  private enum CodingKeys: String, CodingKey {
    case path, problem, step, run, incarnation
    case isSound = "sound"
    case damagedBlock = "damaged_block"
    case byteCount = "bytes"
    case blockCount = "blocks"
  }

  /// Verifies a run directory's newest checkpoint or the one in a folder.
  ///
  /// Cost: reads every byte once.
  /// Throws: `Failure` (.missingInput or .badData when there is no checkpoint there, .inputOutput
  /// when the disk cannot be read, .internal when this process lacks what it needs); damage is
  /// reported instead, also a file of the two that is missing.
  package init(of path: String) throws(Failure) {
    guard let folder = try Inspection.target(path).folder else {
      throw Failure(
        .badData, "\(path): is not a checkpoint, so there is nothing to verify it against")
    }
    self.path = folder
    var manifest: Manifest?
    var damage: Manifest.Damage?
    do throws(Failure) {
      let found = try Manifest(readingFrom: folder + "/" + Format.manifestFile)
      manifest = found
      damage = try found.firstDamage(
        in: OpenFile(readingRegular: folder + "/" + Format.dataFile))
    } catch {
      // What cannot be read now may be sound.
      if [.inputOutput, .internal].contains(error.exitCode) { throw error }
      damage = Manifest.Damage(block: nil, message: error.message)
    }
    isSound = damage == nil
    problem = damage?.message
    damagedBlock = damage?.block.map {
      DamagedBlock(offset: $0.offset, length: $0.length, tensor: $0.tensor)
    }
    step = manifest?.step
    run = manifest?.runIdentifier
    incarnation = manifest?.incarnation
    byteCount = manifest?.fileByteCount
    blockCount = manifest?.blocks.count
  }

  /// The JSON form, keys sorted.
  package func encoded() throws(Failure) -> [UInt8] { try JSONText.encode(self, of: path) }
}

/// JSON as the commands print it: keys sorted, ended by a line feed.
enum JSONText {
  static func encode(_ value: some Encodable, of path: String) throws(Failure) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    // JSON has no infinities.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    guard let data = try? encoder.encode(value) else {
      throw Failure(.internal, "\(path): what was found cannot be written as JSON")
    }
    return Array(escapedJSON(String(decoding: data, as: UTF8.self)).utf8) + [UInt8(ascii: "\n")]
  }
}
