import Checkpoints
import Core
import Foundation
import Layers
import Messaging
import Synchronization
import Tensors
import Testing

/// Several ranks, as threads, that write one checkpoint.
@Suite struct ParallelWriteTests {
  /// Odd cuts of each vector over the ranks: neither in rank order nor one run a rank, and some
  /// ranks may own nothing of a vector.
  private static func cuts(_ count: Int, ranks: Int, salt: Int) -> [[Range<Int>]] {
    var owned = [[Range<Int>]](repeating: [], count: ranks)
    var (start, number) = (0, salt)
    while start < count {
      let end = min(count, start + 1 + (number * 37 + salt * 11) % 23)
      owned[(number * 3 + salt) % ranks].append(start..<end)
      (start, number) = (end, number + 1)
    }
    return owned
  }

  private static func layout() -> ParameterLayout {
    var layout = tinyLayout()
    layout.append("decoder/none", [0, 3], .constant(0))
    layout.append("decoder/large", [13, 17], .constant(0))
    return layout
  }

  /// The pieces of a rank and the memory they lie in.
  private static func withPieces<Result>(
    of rank: Int, ranks: Int, _ state: KnownState, vectors: [StateVector] = StateVector.allCases,
    _ body: ([OwnedPiece], Vector) throws -> Result
  ) throws -> Result {
    let count = layout().count
    let buffer = FloatBuffer(count: count * vectors.count)
    var pieces: [OwnedPiece] = []
    for (index, vector) in vectors.enumerated() {
      let view = buffer.view[index * count..<(index + 1) * count]
      try state.read(0..<count, of: vector, into: view)
      for range in cuts(count, ranks: ranks, salt: index + 1)[rank] {
        pieces.append(OwnedPiece(vector, range, view[range]))
      }
    }
    return try body(pieces, buffer.view)
  }

  private static func writer(
    _ communicator: ThreadedCommunicator, _ folder: String, keep: Int = 5
  ) throws -> CheckpointWriter {
    try CheckpointWriter(
      communicator: communicator, layout: layout(),
      publication: communicator.rank == 0
        ? .init(
          store: CheckpointStore(folder: folder), retention: RetentionPolicy(newest: keep)) : nil)
  }

  private static func outcome(_ event: SaveEvent?) -> String {
    switch event {
    case .published(let step, _)?: "published \(step)"
    case .failed(let step, let failure)?: "failed \(step): \(failure.message)"
    case nil: "nothing"
    }
  }

  @Test(arguments: [1, 2, 3, 5])
  func theBytesDoNotDependOnWhoWroteThem(ranks: Int) throws {
    try withTemporaryFolder { folder in
      let reference = try CheckpointStore(folder: folder + "/one").save(
        tinyHeader(step: 7), layout: Self.layout(), from: KnownState())
      let outcomes = try withRanks(ranks) { communicator in
        let writer = try Self.writer(communicator, folder + "/many")
        return try Self.withPieces(of: communicator.rank, ranks: ranks, KnownState()) {
          pieces, memory in
          writer.begin(step: 7, tinyHeader(step: 7), pieces: pieces)
          // What training does to the weights now is not in the snapshot.
          memory.fill(.nan)
          return Self.outcome(try writer.finish())
        }
      }
      #expect(outcomes == [String](repeating: "published 7", count: ranks))
      let path = folder + "/many/step-000000007"
      #expect(
        try FileSystem.readAll(path + "/checkpoint.h5", limit: 1 << 24)
          == FileSystem.readAll(reference.path + "/checkpoint.h5", limit: 1 << 24))
      let checkpoint = try Checkpoint(folder: path)
      for vector in StateVector.allCases {
        let expected = KnownState().values(0..<checkpoint.layout.count, of: vector)
        #expect(try bits(checkpoint.values(of: vector)) == bits(expected))
      }
      #expect(try FileSystem.names(in: folder + "/many") == ["step-000000007"])
    }
  }

  @Test func trainingGoesOnWhileASaveIsUnderWayAndRequestsCoalesce() throws {
    try withTemporaryFolder { folder in
      let logs = try withRanks(3) { communicator in
        let writer = try Self.writer(communicator, folder)
        var log: [String] = []
        var begun: [Int] = []
        for step in 1...2000 {
          // As the step loop does: agree, poll, ask, begin.
          if let event = try writer.poll(try communicator.agree(writer.flags)) {
            log.append(Self.outcome(event))
          }
          if step <= 100 { writer.request() }
          if writer.takesSnapshot {
            begun.append(step)
            try Self.withPieces(
              of: communicator.rank, ranks: 3, KnownState(salt: UInt32(step))
            ) { pieces, _ in
              writer.begin(step: step, tinyHeader(step: step), pieces: pieces)
            }
          }
        }
        if let event = try writer.finish() { log.append(Self.outcome(event)) }
        return [log, begun.map { "published \($0)" }]
      }
      #expect(logs[1] == logs[0] && logs[2] == logs[0])
      #expect(logs[0][0] == logs[0][1])
      #expect(logs[0][1].first == "published 1")
      #expect(logs[0][1].count < 100)
      let store = CheckpointStore(folder: folder)
      let newest = try #require(try store.newestVerified { _ in })
      let state = KnownState(salt: UInt32(newest.header.step))
      #expect(
        try bits(newest.values(of: .secondMoment))
          == bits(state.values(0..<newest.layout.count, of: .secondMoment)))
      #expect(try store.steps.count <= 5)
    }
  }

  @Test(arguments: [0, 2])
  func aFailureOnOneRankAbandonsTheSaveOnAllAndTheNextOneWorks(badRank: Int) throws {
    try withTemporaryFolder { folder in
      _ = try CheckpointStore(folder: folder).save(
        tinyHeader(step: 1), layout: Self.layout(), from: KnownState())
      let outcomes = try withRanks(3) { communicator in
        let writer = try Self.writer(communicator, folder)
        return try Self.withPieces(of: communicator.rank, ranks: 3, KnownState()) { pieces, _ in
          var log: [String] = []
          for step in 2...3 {
            writer.begin(step: step, tinyHeader(step: step), pieces: pieces)
            var event: SaveEvent?
            var isHarmed = step == 3
            while event == nil {
              event = try writer.poll(try communicator.agree(writer.flags))
              // Between the phases: the draft is there, its writers have not opened it yet, or
              // have; either way somebody finds it gone.
              if !isHarmed, communicator.rank == badRank {
                let drafts = try FileSystem.names(in: folder).filter { $0.hasPrefix(".tmp-") }
                for draft in drafts where (try? FileSystem.remove(folder + "/" + draft)) != nil {
                  isHarmed = true
                }
              }
            }
            log.append(Self.outcome(event))
          }
          return log
        }
      }
      #expect(outcomes[1] == outcomes[0] && outcomes[2] == outcomes[0])
      #expect(outcomes[0].first?.hasPrefix("failed 2: ") == true, "\(outcomes[0])")
      #expect(outcomes[0].first?.contains("No such file or directory") == true, "\(outcomes[0])")
      #expect(outcomes[0].last == "published 3")
      #expect(
        try FileSystem.names(in: folder) == ["step-000000001", "step-000000003"])
    }
  }

  @Test func gapsAndOverlapsAreNotPublished() throws {
    try withTemporaryFolder { folder in
      for change in [1, -1] {
        let outcomes = try withRanks(2) { communicator in
          let writer = try Self.writer(communicator, folder)
          return try Self.withPieces(of: communicator.rank, ranks: 2, KnownState()) {
            pieces, _ in
            var pieces = pieces
            if communicator.rank == 1 {
              if change < 0 { pieces.removeLast() } else { pieces.append(pieces[0]) }
            }
            writer.begin(step: 1, tinyHeader(step: 1), pieces: pieces)
            return Self.outcome(try writer.finish())
          }
        }
        #expect(outcomes[0].contains("leave gaps or overlap"))
        #expect(outcomes[0] == outcomes[1])
        #expect(try FileSystem.names(in: folder) == [])
      }
    }
  }
}
