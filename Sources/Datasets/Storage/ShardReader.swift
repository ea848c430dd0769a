import Core
import HDF5

/// What the file of a shard must be.
package struct ShardExpectation: Equatable, Sendable {
  /// XXH3-128 of the file.
  package var digest: Digest
  package var byteCount: Int
  package var items: Int
  /// By stream, without begin and end.
  package var tokens: [Int]
}

/// An open shard that is, byte for byte, the one its dataset knows.
struct ShardReader: ~Copyable {
  private let file: StoredFile
  private let path: String
  private let expectation: ShardExpectation
  private let streams: [String]
  private let vocabularySize: Int

  /// Cost: reads the file once; looks into it in a process of its own unless that was done lately.
  /// Throws: `Failure`: .missingInput when the file is missing, .badData when it is not the one
  /// that was prepared.
  init(
    path: String, _ expectation: ShardExpectation, split: Split, streams: [String],
    tokenizer: DatasetManifest.TokenizerEntry
  ) throws(Failure) {
    let opened = try OpenFile(readingRegular: path)
    let byteCount = try opened.byteCount()
    guard byteCount == expectation.byteCount else {
      throw Failure(
        .badData,
        "\(path): expected \(expectation.byteCount) bytes, found \(byteCount); copy the dataset"
          + " again")
    }
    // A flipped bit reads as another number: nothing is used before the digest fits.
    let digest = Digest(of: try opened.read(byteCount: byteCount, at: 0))
    guard digest == expectation.digest else {
      throw Failure(
        .badData,
        "\(path): expected the shard with XXH3 \(expectation.digest), found \(digest); it was"
          + " changed or damaged, copy or prepare the data again")
    }
    let file = try StoredFile(sharing: opened, digest: digest)
    typealias Attribute = ShardFormat.Attribute
    for (name, text) in [
      (Attribute.format, ShardFormat.name), (Attribute.split, split.rawValue),
      (Attribute.tokenizerDigest, tokenizer.digest),
    ] {
      let found = try file.textAttribute(name)
      guard found == text else { throw Self.mismatch(path, name, text, escaped(found)) }
    }
    let counts = zip(streams, expectation.tokens).map { (ShardFormat.tokenCount($0), $1) }
    for (name, number) in [
      (Attribute.version, ShardFormat.version), (Attribute.sequenceCount, expectation.items),
      (Attribute.vocabularySize, tokenizer.vocabularySize),
    ] + counts {
      let found = try file.integerAttribute(name)
      guard found == number else {
        throw Self.mismatch(path, name, "\(number)", "\(found)")
      }
    }
    self.file = file
    self.path = path
    self.expectation = expectation
    self.streams = streams
    vocabularySize = tokenizer.vocabularySize
  }

  /// Where the sequences of a stream begin and end.
  ///
  /// Throws: `Failure` (.badData) unless they are in order and span the tokens.
  func offsets(stream: Int) throws(Failure) -> [Int] {
    let name = ShardFormat.offsets(streams[stream])
    let stored = try file.read(name, as: UInt64.self)
    let (items, tokenCount) = (expectation.items, expectation.tokens[stream])
    guard stored.count == items + 1, stored.first == 0, stored.last == UInt64(tokenCount),
      zip(stored, stored.dropFirst()).allSatisfy({ $0 < $1 })
    else {
      throw Failure(
        .badData,
        "\(path): \(name): expected \(items + 1) rising offsets from 0 to \(tokenCount),"
          + " found others; prepare the data again")
    }
    return stored.map { Int($0) }
  }

  /// All items.
  ///
  /// Throws: `Failure` (.badData) when there are too few tokens, or one is outside of the
  /// vocabulary.
  func content() throws(Failure) -> ShardContent {
    var result: [PackedSequences] = []
    for stream in streams.indices { result.append(try sequences(stream)) }
    return ShardContent(streams: result)
  }

  private func sequences(_ stream: Int) throws(Failure) -> PackedSequences {
    let offsets = try offsets(stream: stream)
    let name = ShardFormat.tokens(streams[stream])
    let dataset = try file.dataset(name)
    guard dataset.count == offsets[expectation.items] else {
      throw Self.mismatch(
        path, name, "\(offsets[expectation.items]) tokens", "\(dataset.count)")
    }
    let tokens = try dataset.read(as: Int32.self)
    for (index, token) in tokens.enumerated() where !(0..<Int32(vocabularySize)).contains(token) {
      throw Self.mismatch(
        path, "\(name)[\(index)]", "a token of a vocabulary of \(vocabularySize)", "\(token)")
    }
    return PackedSequences(tokens: tokens, offsets: offsets)
  }

  private static func mismatch(
    _ path: String, _ name: String, _ expected: String, _ found: String
  ) -> Failure {
    Failure(
      .badData, "\(path): \(name): expected \(expected), found \(found); prepare the data again")
  }
}
