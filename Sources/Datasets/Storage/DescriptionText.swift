import Core
import Foundation

/// `dataset.json` as bytes, of any version.
enum DescriptionText {
  static let format = DatasetManifest.currentFormat
  /// Enough for version 1 with 35,000 shards, 2 x 10^9 pairs of the usual size, and read within
  /// seconds.
  static let byteLimit = 8 << 20

  private struct Header: Codable {
    var format: String
    var formatVersion: Int
  }

  /// The same bytes for the same value.
  static func encode(_ value: some Encodable) throws(Failure) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    encoder.keyEncodingStrategy = .convertToSnakeCase
    guard let bytes = try? encoder.encode(value) else {
      throw Failure(.internal, "\(DatasetManifest.fileName): cannot encode")
    }
    return Array(bytes) + [UInt8(ascii: "\n")]
  }

  /// Likewise, such that it cannot drive a terminal.
  static func encodeEscaped(_ value: some Encodable) throws(Failure) -> [UInt8] {
    Array(escapedJSON(String(decoding: try encode(value), as: UTF8.self)).utf8)
  }

  /// The version of a description.
  ///
  /// Throws: `Failure` (.badData) for anything but a description of a version this program reads.
  static func version(of bytes: [UInt8], path: String) throws(Failure) -> Int {
    let newest = DatasetDescription.currentVersion
    let header: Header = try decode(bytes, path)
    guard header.format == format, (1...newest).contains(header.formatVersion) else {
      let advice = header.formatVersion > newest ? "use a newer Lockstep" : "prepare the data again"
      throw Failure(
        .badData,
        "\(path): expected format \(format) version 1 to \(newest), found"
          + " \(escaped(header.format)) version \(header.formatVersion); \(advice)")
    }
    return header.formatVersion
  }

  /// Throws: `Failure` (.badData) for anything but a description of that version.
  static func decode<Value: Decodable>(
    _ bytes: [UInt8], versions: Int, path: String
  ) throws(Failure) -> Value {
    let found = try version(of: bytes, path: path)
    guard found == versions else {
      throw Failure(.badData, "\(path): expected version \(versions), found \(found)")
    }
    return try decode(bytes, path)
  }

  private static func decode<Value: Decodable>(
    _ bytes: [UInt8], _ path: String
  ) throws(Failure) -> Value {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    do {
      return try decoder.decode(Value.self, from: Data(bytes))
    } catch {
      throw Failure(
        .badData,
        "\(path): expected a dataset's description in JSON, found something else"
          + " (\(escaped(reason(error))))")
    }
  }

  private static func reason(_ error: any Error) -> String {
    switch error {
    case DecodingError.keyNotFound(let key, _): "no key \(key.stringValue)"
    case DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context):
      "\(context.codingPath.map(\.stringValue).joined(separator: ".")) has another type"
    case DecodingError.dataCorrupted(let context) where !context.codingPath.isEmpty:
      "\(context.codingPath.map(\.stringValue).joined(separator: ".")) is out of range"
    default: "not JSON"
    }
  }
}
