import Core
import Synchronization

/// What confined processes have said about files of known bytes.
///
/// A loader opens its shards epoch after epoch and compares the digest each time; a process for
/// each opening would take longer than the reading. What is remembered is believed no more than
/// what was just said: `StoredFile` checks it against the file again.
enum KnownStructures {
  /// A window of shards; more would be memory for files that are not opened soon.
  private static let capacity = 64

  private static let structures = Mutex<[(digest: Digest, structure: Structure)]>([])

  static func structure(of digest: Digest) -> Structure? {
    structures.withLock { known in known.first { $0.digest == digest }?.structure }
  }

  static func remember(_ structure: Structure, of digest: Digest) {
    structures.withLock { known in
      known.removeAll { $0.digest == digest }
      if known.count == capacity { known.removeFirst() }
      known.append((digest, structure))
    }
  }
}
