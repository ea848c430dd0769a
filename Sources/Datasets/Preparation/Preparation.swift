import Core
import Foundation

/// Text in, a dataset folder out: the same bytes for the same input and options, whoever works at
/// it.
package struct Preparation: Sendable {
  /// Where the text comes from.
  package enum Origin: Sendable {
    /// Held-out amounts are taken from the training text where no file is given.
    case files(
      training: [TextInput], heldOut: [Split: TextInput], amounts: [Split: Int],
      languages: Languages)
    /// Translated package descriptions from English to a language.
    case debianDescriptions(language: String)
    /// Text in memory.
    case corpus(Corpus)
  }

  package var origin: Origin
  package var tokenizer: TokenizerTraining
  /// Pieces a side may have, without end; longer pairs are left out.
  package var maximumPieces: Int
  /// Pairs a shard holds at most; a window of shards is what the loader keeps in memory.
  package var shardPairs: Int
  package var seed: UInt64
  /// Whether training gets the sentences of its texts one by one, too, and its pairs with names
  /// once more with others.
  package var stretches: Bool

  package static let defaultMaximumPieces = 256
  package static let defaultShardPairs = 65_536

  package init(
    origin: Origin, tokenizer: TokenizerTraining, maximumPieces: Int = defaultMaximumPieces,
    shardPairs: Int = defaultShardPairs, seed: UInt64 = 1, stretches: Bool = false
  ) {
    precondition(maximumPieces > 0 && shardPairs > 0, "limits are positive")
    self.origin = origin
    self.tokenizer = tokenizer
    self.maximumPieces = maximumPieces
    self.shardPairs = shardPairs
    self.seed = seed
    self.stretches = stretches
  }

  /// What came out.
  package struct Outcome: Sendable {
    package var manifest: DatasetManifest
    /// For a person: the first pair of each kind that was left out, with its place.
    package var examples: [String]
  }

  /// Builds the dataset in `staging` and publishes it; the folder is gone when this throws.
  ///
  /// Throws: `Failure`: .missingInput, .badData, .cannotCreate or .inputOutput.
  package func run(
    in staging: StagingFolder, team: Team = Team(), progress: @escaping (String) -> Void
  ) throws(Failure) -> Outcome {
    do throws(Failure) {
      let outcome = try build(in: staging.path, team: team, progress: progress)
      try staging.publish()
      return outcome
    } catch {
      staging.remove()
      throw error
    }
  }

  /// Builds the dataset in a folder that all ranks see, without publishing it.
  ///
  /// Collective. Throws: as `run`.
  package func build(
    in folder: String, team: Team, progress: @escaping (String) -> Void
  ) throws(Failure) -> Outcome {
    let work = "\(folder)/work"
    _ = try team.onFirst { (_) throws(Failure) -> Int in
      try FileSystem.createNewFolder(work)
      return 0
    }
    let outcome = try Assembly(self, folder: folder, work: work, team: team, say: progress).run()
    _ = try team.onFirst { (_) throws(Failure) -> Int in
      try FileSystem.remove(work)
      return 0
    }
    return outcome
  }
}
