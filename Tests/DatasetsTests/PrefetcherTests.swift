import Core
import Datasets
import Foundation
import Testing

@Suite final class PrefetcherTests {
  let scratch = ScratchFolder()

  private func loader(shardsPerWindow: Int = 2) throws -> Loader {
    try scratch.prepare("data", .copy(pairs: 200, shardPairs: 30))
    return try Loader(
      Dataset(path: "\(scratch.path)/data"),
      options: .init(
        seed: 3, tokenBudget: 50, microBatchesPerStep: 8, shardsPerWindow: shardsPerWindow))
  }

  @Test func stepsComeInOrderWithWhatTheReplicaOwns() throws {
    let loader = try self.loader()
    for indices in [0..<8, 3..<6, 7..<8, 2..<2] {
      let prefetcher = try Prefetcher(loader, position: 0, indices: indices)
      var position = 0
      for _ in 0..<20 {
        let step = try prefetcher.next()
        let plan = try loader.plan(position: position)
        #expect(step.plan == plan)
        #expect(
          try step.microBatches == indices.map { try loader.load(plan.microBatches[$0]) })
        position = plan.nextPosition
      }
    }
  }

  @Test func errorsOfTheThreadReachTheCaller() throws {
    let loader = try self.loader()
    let badPosition = try Prefetcher(loader, position: 1, indices: 0..<8)
    #expect(failure { _ = try badPosition.next() }?.exitCode == .badData)
    #expect(failure { _ = try badPosition.next() }?.exitCode == .internal)
    // One that has not read its shards yet.
    let fresh = try Loader(Dataset(path: "\(scratch.path)/data"), options: loader.options)
    try FileManager.default.removeItem(atPath: "\(scratch.path)/data")
    let missing = try Prefetcher(fresh, position: 0, indices: 0..<8)
    #expect(failure { _ = try missing.next() }?.exitCode == .missingInput)
  }

  @Test func endingInTheMiddleWaitsForTheThread() throws {
    let loader = try self.loader()
    for taken in 0..<10 {
      let prefetcher = try Prefetcher(loader, position: 0, indices: 0..<8)
      for _ in 0..<taken { _ = try prefetcher.next() }
      prefetcher.stop()
      prefetcher.stop()
    }
  }
}
