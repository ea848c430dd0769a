import Core
import Foundation
import HDF5

/// What is in an HDF5 file (a checkpoint or any other), for people and, encoded, for programs.
///
/// All names and texts are as stored; whoever prints them escapes them.
package struct Inspection: Codable, Sendable {
  package struct Object: Codable, Sendable {
    package let path: String
    package let kind: String
    /// Absent unless a dataset; empty for a scalar.
    package let shape: [Int]?
    package let type: String?
    package let attributes: [String: Value]?
    /// Of float datasets.
    package let statistics: Statistics?
    /// Why the dataset cannot be read.
    package let defect: String?
  }

  /// An attribute, as the JSON value of its kind.
  package enum Value: Codable, Equatable, Sendable, CustomStringConvertible {
    case integer(Int64)
    case unsigned(UInt64)
    case real(Double)
    case text(String)

    package var description: String {
      switch self {
      case .integer(let value): "\(value)"
      case .unsigned(let value): "\(value)"
      case .real(let value): "\(value)"
      case .text(let value): value
      }
    }

    package func encode(to encoder: any Encoder) throws {
      var container = encoder.singleValueContainer()
      switch self {
      case .integer(let value): try container.encode(value)
      case .unsigned(let value): try container.encode(value)
      // JSON has no infinities.
      case .real(let value):
        if value.isFinite { try container.encode(value) } else { try container.encode("\(value)") }
      case .text(let value): try container.encode(value)
      }
    }

    package init(from decoder: any Decoder) throws {
      let container = try decoder.singleValueContainer()
      if let value = try? container.decode(Int64.self) {
        self = .integer(value)
      } else if let value = try? container.decode(UInt64.self) {
        self = .unsigned(value)
      } else if let value = try? container.decode(Double.self) {
        self = .real(value)
      } else {
        self = .text(try container.decode(String.self))
      }
    }

    init(_ value: AttributeValue) {
      switch value {
      case .signed(let number): self = .integer(number)
      case .unsigned(let number): self = .unsigned(number)
      case .real(let number): self = .real(number)
      case .text(let text): self = .text(text)
      case .other(let name): self = .text("(\(name))")
      }
    }
  }

  /// Whether a checkpoint's bytes are what its manifest says.
  package enum Verification: String, Codable, Sendable {
    case verified
    case damaged
    /// Not in a checkpoint folder: there is nothing to verify against.
    case none
  }

  package let path: String
  package let byteCount: Int
  package let verification: Verification
  /// What is damaged, or why there is nothing to verify.
  package let remark: String?
  /// Attributes of the file itself: format, version, step, parameter count.
  package let attributes: [String: Value]
  package let step: Int?
  package let state: [String: Value]?
  package let configuration: String?
  package let provenance: [String: String]?
  package let objects: [Object]

  private enum CodingKeys: String, CodingKey {
    case path, verification, remark, attributes, step, state, configuration, provenance, objects
    case byteCount = "bytes"
  }

  /// Looks at a run directory's newest checkpoint, a checkpoint folder or any HDF5 file.
  ///
  /// Cost: reads every byte twice (digests, statistics), a block of 4 MiB at a time.
  /// Throws: `Failure` (.missingInput, .badData, .inputOutput) when it cannot be opened or its
  /// bytes cannot be read; damage and defects of single datasets are recorded instead.
  package init(of path: String) throws(Failure) {
    let target = try Inspection.target(path)
    let file = try StoredFile.open(target.file)
    self.path = target.file
    byteCount = file.byteCount
    (verification, remark) = try Inspection.verify(target)
    attributes = Inspection.attributes(of: "/", in: file)
    if case .integer(let step)? = attributes["step"] { self.step = Int(step) } else { step = nil }
    state = file.contains("/state") ? Inspection.attributes(of: "/state", in: file) : nil
    var (objects, texts) = ([Object](), [String: String]())
    for node in file.tree() {
      var defect = node.defect
      if node.kind == .dataset, Inspection.isText(node.path) {
        do throws(Failure) {
          texts[node.path] = try file.readText(node.path)
        } catch {
          defect = error.message
        }
      }
      objects.append(Inspection.object(node, defect, in: file))
    }
    configuration = texts.removeValue(forKey: Format.configuration)
    let names = texts.map { (String($0.key.dropFirst(Inspection.provenance.count)), $0.value) }
    provenance = texts.isEmpty ? nil : Dictionary(names, uniquingKeysWith: { first, _ in first })
    self.objects = objects
  }

  /// The JSON form, keys sorted.
  package func encoded() throws(Failure) -> [UInt8] { try JSONText.encode(self, of: path) }

  /// The file to look at, and the folder of its manifest if it has one.
  static func target(_ path: String) throws(Failure) -> (file: String, folder: String?) {
    var isFolder = ObjCBool(false)
    let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isFolder)
    if exists, !isFolder.boolValue {
      let name = URL(fileURLWithPath: path).lastPathComponent
      guard name == Format.dataFile else { return (path, nil) }
    }
    let folder: String
    switch try Checkpoint.Location(path) {
    case .checkpoint(let found): folder = found
    case .run(let found):
      let store = CheckpointStore(folder: found)
      guard let newest = try store.steps.last else {
        throw try store.misnamed() ?? CheckpointStore.empty(found)
      }
      folder = store.path(ofStep: newest)
    }
    return (folder + "/" + Format.dataFile, folder)
  }

  private static func verify(
    _ target: (file: String, folder: String?)
  ) throws(Failure) -> (Verification, String?) {
    guard let folder = target.folder,
      FileSystem.exists(folder + "/" + Format.manifestFile)
    else { return (.none, "there is no \(Format.manifestFile) to verify it against") }
    do throws(Failure) {
      let manifest = try Manifest(readingFrom: folder + "/" + Format.manifestFile)
      try manifest.verify(try OpenFile(readingRegular: target.file))
      return (.verified, nil)
    } catch {
      if [.inputOutput, .internal].contains(error.exitCode) { throw error }
      return (.damaged, error.message)
    }
  }

  static func attributes(
    of object: String, in file: StoredFile
  ) -> [String: Value] {
    var values: [String: Value] = [:]
    for name in file.attributeNames(of: object) {
      if let value = file.attribute(name, of: object) { values[name] = Value(value) }
    }
    return values
  }

  private static let provenance = "/provenance/"

  /// Whether a checkpoint of Lockstep has one text in the dataset of that path.
  private static func isText(_ path: String) -> Bool {
    path == Format.configuration || path.hasPrefix(provenance)
  }

  private static func object(_ node: Node, _ found: String?, in file: StoredFile) -> Object {
    var (statistics, defect) = (Statistics?.none, found)
    if let type = node.type, type.isFloat {
      do throws(Failure) {
        statistics = try self.statistics(of: node.path, type, in: file)
      } catch {
        defect = error.message
      }
    }
    let isLink = node.kind == .link
    let attributes = isLink ? [:] : attributes(of: node.path, in: file)
    return Object(
      path: node.path, kind: node.kind.rawValue, shape: node.kind == .dataset ? node.shape : nil,
      type: node.type?.description, attributes: attributes.isEmpty ? nil : attributes,
      statistics: statistics, defect: defect)
  }

  private static func statistics(
    of path: String, _ type: ElementType, in file: StoredFile
  ) throws(Failure) -> Statistics {
    let dataset = try file.dataset(path)
    var statistics = Statistics()
    for piece in StateVector.pieces(of: dataset.count) {
      if type == .float64 {
        statistics.add(try dataset.read(piece, as: Double.self))
      } else {
        statistics.add(try dataset.read(piece, as: Float.self))
      }
    }
    return statistics
  }
}
