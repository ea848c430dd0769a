import Core
import Datasets
import Foundation
import Testing

/// The guide's recipe of an epoch's order, which knows nothing of this program.
@Suite final class EpochOrderTests {
  let scratch = ScratchFolder()

  private static let python = ProcessInfo.processInfo.environment["LOCKSTEP_PYTHON"] ?? "python3"
  private static let guide = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .appending(path: "../../Sources/Guide/DatasetFormat.md")

  /// A program that must end with 0: what it prints, a line each.
  private static func run(_ arguments: [String]) throws -> [Substring] {
    let process = Process()
    let pipe = Pipe()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    process.standardOutput = pipe
    try process.run()
    let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return String(decoding: output, as: UTF8.self).split(separator: "\n")
  }

  static let canReadHDF5 = (try? run([python, "-c", "import h5py"])) != nil

  @Test(
    .enabled(if: canReadHDF5, "SKIPPED: needs a Python with h5py"),
    arguments: [(true, 100, 5), (false, 100, 1 << 40 + 3), (true, 7, 5)])
  func theRecipeGivesThePairsOfEachLane(groups: Bool, limit: Int, seed: UInt64) throws {
    try scratch.prepare("data", .copy(pairs: 700, shardPairs: 64))
    let (lanes, each, tokens, steps) = (4, 2, 331, 40)
    let loader = try Loader(
      Dataset(path: "\(scratch.path)/data"),
      options: .init(
        seed: seed, tokenBudget: tokens / (lanes * each), groupsByLength: groups,
        maximumLength: limit, microBatchesPerStep: lanes * each))
    var position = 0
    let expected = try (0..<steps).map { _ in
      let plan = try loader.plan(position: position)
      position = plan.nextPosition
      let pairs = plan.microBatches.map { $0.pairs.map { [Int($0.shard), Int($0.index)] } }
      return (0..<lanes).map { Array(pairs[$0 * each..<($0 + 1) * each]) }
    }
    #expect(position > 2 * loader.pairCount, "the order of two epochs is not all that is compared")

    let text = try String(contentsOf: Self.guide, encoding: .utf8)
    let recipe = try #require(text.firstMatch(of: /(?s)```python\n(import glob.*?)```/)).1
    let numbers = [Int(seed), tokens, lanes, each, groups ? 1 : 0, limit, steps].map(String.init)
    let lines = try Self.run(
      [Self.python, "-c", String(recipe), "\(scratch.path)/data"] + numbers)
    let found = try lines.map {
      try JSONDecoder().decode([[[[Int]]]].self, from: Data($0.utf8))
    }
    #expect(found == expected)
  }
}
