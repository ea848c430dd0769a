import Core
import Datasets
import Foundation
import Testing

/// A folder that is gone when the test is over; held by the suite, so that it lives until then.
final class ScratchFolder {
  let path: String

  init() {
    path = NSTemporaryDirectory() + "datasets-tests-\(UUID().uuidString)"
    // A folder that cannot be made fails the first test that writes into it.
    try? FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String, _ text: String) throws -> String {
    try file(name, Array(text.utf8))
  }

  func file(_ name: String, _ bytes: [UInt8]) throws -> String {
    try FileSystem.writeAtomically(bytes, to: "\(path)/\(name)")
    return "\(path)/\(name)"
  }

  func names(in folder: String = ".") throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: "\(path)/\(folder)").sorted()
  }

  func bytes(_ name: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)")))
  }

  /// Makes a prepared folder what it was before there was an index.
  func makeVersionOne(_ name: String) throws {
    let manifest = try Dataset(path: "\(path)/\(name)").manifest
    _ = try file("\(name)/dataset.json", try manifest.encoded())
    try FileManager.default.removeItem(atPath: "\(path)/\(name)/index.h5")
  }

  /// Prepares into a folder of that name.
  @discardableResult
  func prepare(_ name: String, _ preparation: Preparation) throws -> DatasetManifest {
    try preparation.run(in: StagingFolder(for: "\(path)/\(name)")) { _ in }.manifest
  }
}

extension Preparation {
  /// A small copy task.
  static func copy(
    pairs: Int = 500, heldOut: Int = 40, shardPairs: Int = 64, maximumLength: Int = 10,
    seed: UInt64 = 7
  ) -> Preparation {
    Preparation(
      origin: .corpus(
        CopyTask(
          seed: seed, amounts: [.training: pairs, .validation: heldOut, .test: heldOut],
          maximumLength: maximumLength
        ).corpus()),
      tokenizer: TokenizerTraining(
        vocabularySize: 64, byteFallback: false, characterCoverage: 1),
      shardPairs: shardPairs, seed: seed)
  }

  /// Text in memory, with sentences and other names.
  static func stretched(_ corpus: Corpus, seed: UInt64 = 1) -> Preparation {
    Preparation(
      origin: .corpus(corpus), tokenizer: TokenizerTraining(vocabularySize: 400), seed: seed,
      stretches: true)
  }

  static func files(
    _ source: String, _ target: String, heldOut: [Split: TextInput] = [:],
    amounts: [Split: Int] = [:], maximumPieces: Int = 100, stretches: Bool = false
  ) -> Preparation {
    Preparation(
      origin: .files(
        training: [.files(source: source, target: target)], heldOut: heldOut, amounts: amounts,
        languages: Languages(source: "en", target: "de")),
      tokenizer: TokenizerTraining(vocabularySize: 400), maximumPieces: maximumPieces,
      stretches: stretches)
  }
}

/// The failure that `body` ends with.
func failure(_ body: () throws -> Void) -> Failure? {
  do {
    try body()
    return nil
  } catch {
    return error as? Failure
  }
}

extension MicroBatch {
  /// The pairs again, without special tokens; nil when those are not where they belong.
  var pairs: [[[Int32]]]? {
    var result: [[[Int32]]] = []
    for index in 0..<pairCount {
      let sourceRange = source.offsets[index]..<source.offsets[index + 1]
      let targetRange = targetInput.offsets[index]..<targetInput.offsets[index + 1]
      let inputs = targetInput.tokens[targetRange]
      let outputs = targetOutput[targetRange]
      guard source.tokens[sourceRange].last == SpecialToken.end,
        inputs.first == SpecialToken.begin, outputs.last == SpecialToken.end,
        inputs.dropFirst() == outputs.dropLast()
      else { return nil }
      result.append([Array(source.tokens[sourceRange].dropLast()), Array(outputs.dropLast())])
    }
    return result
  }
}

extension Dataset {
  /// The texts of every pair of a split, in order, as the tokenizer spells them.
  func allTexts(_ split: Split) throws -> [TextPair] {
    try allPairs(split).map { pair in
      TextPair(source: try tokenizer.decode(pair[0]), target: try tokenizer.decode(pair[1]))
    }
  }

  /// Every pair of a split, in order.
  func allPairs(_ split: Split) throws -> [[[Int32]]] {
    try (0..<shardCount(of: split)).flatMap { shard -> [[[Int32]]] in
      let content = try content(shard: shard, of: split)
      return (0..<content.itemCount).map { pair in
        [content.source, content.target].map {
          Array($0.tokens[$0.offsets[pair]..<$0.offsets[pair + 1]])
        }
      }
    }
  }
}
