import Core
import Layers

/// What ranks tell each other about a save, as bytes: whole numbers of eight bytes, then text.
extension Draft {
  /// For ranks that know the layout.
  var encoded: [UInt8] {
    var words: [UInt64] = [UInt64(byteCount)]
    for vector in StateVector.allCases {
      let offsets = (spans[vector] ?? []).map { UInt64($0.offset) }
      words += [UInt64(offsets.count)] + offsets
    }
    return Words.bytes(of: [UInt64(words.count)] + words) + Array(folder.utf8)
  }

  init(decoding bytes: [UInt8], layout: ParameterLayout) throws(Failure) {
    let count = Words.words(of: bytes.prefix(8)).first.map { Int(clamping: $0) } ?? 0
    var words = Words.words(of: bytes.dropFirst(8).prefix(count * 8))[...]
    let entries = layout.entries.filter { $0.count > 0 }
    var spans: [StateVector: [Skeleton.Span]] = [:]
    byteCount = words.popFirst().map { Int(clamping: $0) } ?? 0
    for vector in StateVector.allCases {
      let offsets = words.popFirst().map { Int(clamping: $0) } ?? 0
      guard offsets > 0 else { continue }
      guard offsets == entries.count, words.count >= offsets else {
        throw Failure(.internal, "a save: rank 0 and this rank have different layouts")
      }
      spans[vector] = zip(entries, words.prefix(offsets)).map { entry, offset in
        Skeleton.Span(
          tensor: vector.group + "/" + entry.name, range: entry.range, offset: Int(offset))
      }
      words = words.dropFirst(offsets)
    }
    self.spans = spans
    folder = String(decoding: bytes.dropFirst(8 + count * 8), as: UTF8.self)
  }
}

extension [Manifest.Block] {
  /// Offset, length and digest of each; which tensor it is follows from the offset.
  var encoded: [UInt8] {
    Words.bytes(
      of: flatMap { block -> [UInt64] in
        let digest = Digest(hexadecimal: block.digest)
        return [
          UInt64(block.offset), UInt64(block.length), digest?.high ?? 0, digest?.low ?? 0,
        ]
      })
  }

  init(decoding bytes: [UInt8], tensors: [Skeleton.Span]) {
    let words = Words.words(of: bytes[...])
    self = stride(from: 0, to: words.count - words.count % 4, by: 4).map { start in
      let offset = Int(words[start])
      return Manifest.Block(
        offset: offset, length: Int(words[start + 1]),
        digest: Digest(high: words[start + 2], low: words[start + 3]).description,
        tensor: tensors.containing(offset)?.tensor)
    }
  }
}

extension [Skeleton.Span] {
  /// The span, of spans sorted by offset, that a byte of the file lies in.
  func containing(_ offset: Int) -> Skeleton.Span? {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      let isBefore = self[middle].byteRange.upperBound <= offset
      (low, high) = isBefore ? (middle + 1, high) : (low, middle)
    }
    guard low < count, self[low].byteRange.contains(offset) else { return nil }
    return self[low]
  }
}

/// A failure on its way to the other ranks; no bytes mean none.
enum FailureMessage {
  static func encode(_ failure: Failure?, rank: Int) -> [UInt8] {
    guard let failure else { return [] }
    let origin = rank == 0 ? "" : "rank \(rank): "
    return Array("\(failure.exitCode.rawValue) \(origin)\(failure.message)".utf8)
  }

  /// The failure of the lowest rank that has one.
  static func first(in messages: [[UInt8]]) -> Failure? {
    guard let message = messages.first(where: { !$0.isEmpty }) else { return nil }
    let parts = String(decoding: message, as: UTF8.self).split(separator: " ", maxSplits: 1)
    let code = parts.first.flatMap { Int32($0) }.flatMap { ExitCode(rawValue: $0) }
    return Failure(code ?? .internal, parts.count > 1 ? String(parts[1]) : "a save failed")
  }
}

/// Whole numbers as the bytes of a message.
private enum Words {
  static func bytes(of words: [UInt64]) -> [UInt8] { words.withUnsafeBytes { Array($0) } }

  static func words(of bytes: ArraySlice<UInt8>) -> [UInt64] {
    bytes.withUnsafeBytes { raw in
      (0..<raw.count / 8).map { raw.loadUnaligned(fromByteOffset: 8 * $0, as: UInt64.self) }
    }
  }
}
