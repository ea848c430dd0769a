import Core
import Synchronization

/// What confined processes have said about files of known bytes.
///
/// A loader opens its shards epoch after epoch and compares the digest each time; a process for
/// each opening would take longer than the reading. What is remembered is believed no more than
/// what was just said: `StoredFile` checks it against the file again.
enum KnownStructures {
  /// A thousand shards of the usual kind; of more, those that were opened last.
  private static let byteLimit = 8 << 20

  private struct Known {
    var structure: Structure
    var byteCount: Int
    /// When it was asked for last: greater is later.
    var use: Int
  }

  private struct Memory {
    var known: [Digest: Known] = [:]
    var byteCount = 0
    var uses = 0
  }

  private static let memory = Mutex(Memory())

  static func structure(of digest: Digest) -> Structure? {
    memory.withLock { memory in
      memory.uses += 1
      memory.known[digest]?.use = memory.uses
      return memory.known[digest]?.structure
    }
  }

  static func remember(_ structure: Structure, of digest: Digest) {
    let byteCount = structure.approximateByteCount
    guard byteCount <= byteLimit else { return }
    memory.withLock { memory in
      if let old = memory.known.removeValue(forKey: digest) { memory.byteCount -= old.byteCount }
      if memory.byteCount + byteCount > byteLimit { forgetOldest(of: &memory) }
      memory.uses += 1
      memory.byteCount += byteCount
      memory.known[digest] = Known(structure: structure, byteCount: byteCount, use: memory.uses)
    }
  }

  /// Half of them, so that the search for the oldest is rare.
  private static func forgetOldest(of memory: inout Memory) {
    for (digest, known) in memory.known.sorted(by: { $0.value.use < $1.value.use }) {
      guard memory.byteCount > byteLimit / 2 else { return }
      memory.known[digest] = nil
      memory.byteCount -= known.byteCount
    }
  }
}

extension Structure {
  /// About what it takes in memory.
  fileprivate var approximateByteCount: Int {
    objects.reduce(0) { sum, object in
      let texts = object.texts?.reduce(0) { $0 + 16 + $1.utf8.count } ?? 0
      let attributes = object.attributes.reduce(0) { sum, attribute in
        var size = 64 + attribute.name.utf8.count
        if case .text(let text) = attribute.value { size += text.utf8.count }
        return sum + size
      }
      return sum + 256 + object.path.utf8.count + texts + attributes
        + 8 * (object.chunks?.places.count ?? 0)
    }
  }
}
