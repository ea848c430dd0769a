import Core
import Foundation

/// An index with what is needed to read it, in one piece: a line of JSON and the bytes of an
/// `IndexFile`. Runs keep it: of a folder that has none, so that its shards are not all read again,
/// and of any, to say later where another dataset differs.
package struct KeptIndex: Sendable {
  package let digest: Digest
  package let index: DatasetIndex

  private struct Header: Codable {
    var format = KeptIndex.format
    var formatVersion = 1
    var datasetDigest: String
    var kind: DatasetKind
    var splits: [String: SplitSummary]
    var index: IndexFile.Entry
  }

  private static let format = "lockstep-index"
  private static let headerByteLimit = 1 << 20
  package static let byteLimit = IndexFile.byteLimit + headerByteLimit

  /// Throws: `Failure(.badData)` for more than its readers take.
  package static func encoded(_ dataset: Dataset) throws(Failure) -> [UInt8] {
    let file = try IndexFile(
      dataset.index, path: "\(dataset.path)/\(IndexFile.fileName) as a run keeps it")
    let description = dataset.folder.description
    var splits: [String: SplitSummary] = [:]
    for (split, summary) in description.splits {
      splits[split.rawValue] = summary
      splits[split.rawValue]?.texts = []
    }
    let header = Header(
      datasetDigest: "\(dataset.digest)", kind: description.kind, splits: splits, index: file.entry)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    guard let line = try? encoder.encode(header) else {
      throw Failure(.internal, "\(dataset.path): its index cannot be encoded")
    }
    return Array(line) + [UInt8(ascii: "\n")] + file.bytes
  }

  /// Throws: `Failure(.badData)` for anything but the whole index of a dataset.
  package init(decoding bytes: [UInt8], path: String) throws(Failure) {
    let end = bytes.prefix(Self.headerByteLimit).firstIndex(of: UInt8(ascii: "\n"))
    guard let end, let header = try? JSONDecoder().decode(Header.self, from: Data(bytes[..<end])),
      header.format == Self.format, header.formatVersion == 1,
      let digest = Digest(hexadecimal: header.datasetDigest)
    else { throw Failure(.badData, "\(path): is not the index of a dataset") }
    let image = Array(bytes[(end + 1)...])
    guard "\(Digest(of: image))" == header.index.digest, image.count == header.index.byteCount,
      header.index.file == IndexFile.fileName
    else {
      throw Failure(.badData, "\(path): is damaged (its digest does not fit its bytes)")
    }
    var splits: [Split: SplitSummary] = [:]
    for (name, summary) in header.splits {
      guard let split = Split(rawValue: name),
        summary.isPlausible(streamCount: header.kind.streams.count)
      else { throw Failure(.badData, "\(path): has splits or counts that no dataset has") }
      splits[split] = summary
    }
    self.digest = digest
    index = try DatasetIndex(
      IndexFile(bytes: image, arrays: header.index.arrays), streams: header.kind.streams,
      splits: splits, path: path)
  }

  /// The dataset whose index it is; nil for a folder of other shards.
  package func dataset(_ folder: DatasetFolder) -> Dataset? {
    guard digest == folder.description.digest, folder.lists(index) else { return nil }
    return Dataset(folder, index)
  }
}
